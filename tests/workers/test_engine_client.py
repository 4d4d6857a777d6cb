"""One call against a server that fails: what is tried again, what is refused, what is told, how often."""

from __future__ import annotations

import asyncio
import json

import pytest
import structlog
from kit.engine import SAMPLING, chat, client, run, until
from kit.fault_server import Faults, FaultServer

from streams.errors import AnswerTooLong, Broken, EngineError, Misconfigured, Refused, SettingsError
from workers.engines.openai import JsonSchema, Message, Request, Sampling


def test_a_call_is_answered_with_its_costs():
    async def main():
        async with FaultServer() as server, client(server) as it:
            server.keep_bodies = True
            schema = JsonSchema("s", b'{"type":"object"}')
            sampling = Sampling(0.7, 9, ("END",), schema)
            got = await it.complete(Request((Message("user", "two words"),), sampling, seed=5))
            assert (got.text, got.finish_reason, got.model) == ("two words", "stop", "default")
            assert (got.prompt_tokens, got.cached_tokens, got.completion_tokens) == (2, 0, 2)
            assert got.replica == server.url
            assert 0 < got.seconds < 5
            assert (await it.complete(Request("a text", SAMPLING))).text == "a text"
            first, second = server.bodies
            assert first["response_format"]["json_schema"]["schema"] == {"type": "object"}
            assert (first["seed"], first["stop"], first["temperature"], first["max_tokens"]) == (
                5,
                ["END"],
                0.7,
                9,
            )
            assert second["prompt"] == "a text"
            assert "Authorization" not in server.headers[0]
            assert server.headers[0]["Accept-Encoding"] == "identity"

    run(main())


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "408", "never", "broken", "truncated", "reset",
                                   "empty", "types", "surrogate", "gzip", "huge"])  # fmt: skip
def test_what_passes_is_tried_again(fault):
    async def main():
        seconds = 0.4 if fault == "never" else 20.0
        async with FaultServer() as server, client(server, timeout_seconds=seconds) as it:
            prompt = f"p [[{fault}*1]]"
            assert (await it.complete(chat(prompt))).text == prompt
            assert server.counts[prompt] == 2
            assert it.counts["ok"] == 1

    run(main())


@pytest.mark.parametrize(
    ("fault", "error", "says", "asked"),
    [
        ("500", Broken, "says 500", 5),
        ("never", Broken, r"no whole answer within 0.1 s", 5),
        ("broken", Broken, "is no JSON", 5),
        ("empty", Broken, "no choices", 5),
        ("types", Broken, "has not the fields", 5),
        ("gzip", Broken, "is no JSON", 5),
        ("huge", AnswerTooLong, "answer_bytes = 262144", 5),
        ("huge-chunked", AnswerTooLong, "answer_bytes = 262144", 5),
        ("429", Broken, "says 429", 11),
        ("reset", Broken, "also alone", 5),
        ("truncated", Broken, "also alone", 5),
    ],
)
def test_a_bad_call_ends_and_others_go_on(fault, error, says, asked):
    """Bounded tries, one more once the server has proven that it is well; meanwhile others are served."""

    async def main():
        seconds = 0.1 if fault == "never" else 20.0
        async with FaultServer() as server, client(server, timeout_seconds=seconds, failures=50) as it:
            bad = f"p [[{fault}]]"
            call = asyncio.create_task(it.complete(chat(bad)))
            while not call.done():
                other = f"other {server.counts.total()}"
                assert (await it.complete(chat(other))).text == other
                await asyncio.sleep(0.002)
            with pytest.raises(error, match=says) as caught:
                await call
            assert type(caught.value) is error
            assert server.counts[bad] == asked
            assert it.counts["broken"] == 1
            assert it.pool.up == 1
            assert all(n == 1 for prompt, n in server.counts.items() if prompt.startswith("other"))

    run(main())


@pytest.mark.parametrize("status", [400, 413, 422, 403, 404])
def test_a_refusal_of_one_request_carries_the_servers_words(status):
    """Also a 403 or 404, which mostly mean all requests: the client asks with a word of its own first."""

    async def main():
        async with FaultServer() as server, client(server) as it:
            bad = f"long [[{status}]]"
            for _ in range(2):
                with pytest.raises(Refused, match="maximum context length" if status == 400 else str(status)):
                    await it.complete(chat(bad))
            assert server.counts[bad] == 2
            assert it.counts["refused"] == 2
            assert (await it.complete(chat("good"))).text == "good"
            own = server.counts.total() - server.counts[bad] - 1
            assert own == (1 if status in {400, 413, 422} else 2), "asked once, while nothing was known"

    run(main())


def test_a_refusals_words_are_bounded_and_printable():
    async def main():
        async with FaultServer() as server, client(server) as it:
            with pytest.raises(Refused) as caught:
                await it.complete(chat("[[400]] \x1b[31m\n\u202e" + "x" * 100_000))
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 700

    run(main())


@pytest.mark.parametrize(
    ("faults", "settings", "fix"),
    [
        ({"key": "right"}, {}, "api_key_env"),
        ({"key": "right"}, {"api_key_env": "ENGINE_TEST_KEY"}, "ENGINE_TEST_KEY"),
        ({"model": "other"}, {}, "correct model"),
        ({"sick": 403}, {}, "may not use"),
        ({"sick": 402}, {}, "not paid"),
        ({"sick": 307}, {}, "urls"),
        ({"sick": 405}, {}, "urls"),
        ({"longest": 10}, {}, "max_tokens"),
    ],
)
def test_a_wrong_setting_buries_nothing(faults, settings, fix, monkeypatch):
    """Nothing is `Refused`: every call learns that the settings are wrong, and which to correct."""
    monkeypatch.setenv("ENGINE_TEST_KEY", "sk-wrong-0123456789")

    async def main():
        async with FaultServer(Faults(**faults)) as server, client(server, **settings) as it:
            calls = [asyncio.create_task(it.complete(chat(f"p{i}"))) for i in range(50)]
            for call in calls:
                with pytest.raises(Misconfigured, match=fix) as caught:
                    await call
                assert "sk-wrong" not in str(caught.value)
            assert it.counts["refused"] == it.counts["broken"] == 0
            server.faults = Faults()
            assert it.pool.up == bool(faults.get("longest")), "a sampling is wrong, not the server"
            if it.pool.up == 0:
                with pytest.raises(Misconfigured, match=fix):
                    await it.complete(chat("p"), wait=True)
                await until(lambda: it.pool.up, what="the replica is probed and comes back")
            assert (await it.complete(chat("p"))).text == "p"

    run(main())


def test_no_redirection_is_followed(monkeypatch):
    """The key and the documents go where the settings say."""
    monkeypatch.setenv("ENGINE_TEST_KEY", "sk-right-0123456789")

    async def main():
        async with FaultServer() as other, FaultServer(Faults(sick=307)) as server:
            server.faults.location = f"{other.url}/chat/completions"
            async with client(server, api_key_env="ENGINE_TEST_KEY") as it:
                with pytest.raises(Misconfigured, match="307"):
                    await it.complete(chat("p"))
            assert other.counts.total() == 0

    run(main())


def test_a_429_halves_what_the_server_gets():
    async def main():
        async with FaultServer() as server, client(server, concurrency=8, fit_concurrency=False) as it:
            await it.complete(chat("p [[429*1]]"))
            assert it.pool.replicas[0].limit.value == 4
            await asyncio.gather(*(it.complete(chat(f"p{i}")) for i in range(100)))
            assert it.pool.replicas[0].limit.value == 8

    run(main())


def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("ENGINE_TEST_KEY", "sk-right-0123456789")

    async def main():
        async with (
            FaultServer(Faults(key="sk-right-0123456789")) as server,
            client(server, api_key_env="ENGINE_TEST_KEY") as it,
        ):
            assert (await it.complete(chat("p"))).text == "p"
            server.faults.key = "another"
            with structlog.testing.capture_logs() as logs, pytest.raises(Misconfigured) as caught:
                await it.complete(chat("p"))
            assert "Incorrect API key provided: Bearer ***" in str(caught.value)
            assert logs
            assert "0123456789" not in json.dumps(logs) + str(caught.value) + repr(it.settings)

    run(main())


def test_a_key_that_is_not_set_is_told_at_once(monkeypatch):
    monkeypatch.delenv("ENGINE_TEST_KEY", raising=False)
    with pytest.raises(SettingsError, match="ENGINE_TEST_KEY"):
        client("http://127.0.0.1:1", api_key_env="ENGINE_TEST_KEY")


def test_retry_after_is_obeyed_and_bounded():
    async def main():
        loop = asyncio.get_running_loop()
        async with FaultServer(Faults(retry_after="0.2")) as server, client(server) as it:
            began = loop.time()
            await it.complete(chat("p [[429*1]]"))
            assert loop.time() - began >= 0.2
            server.faults.retry_after = "3600"
        async with client(server, retry_after_most_seconds=0.05) as it:
            await server.start()
            began = loop.time()
            await it.complete(chat("q [[503*1]]"))
            assert 0.05 <= loop.time() - began < 20
            await server.kill()

    run(main())


def test_a_huge_answer_is_cut_off_early():
    """The connection is closed once the bound is passed; the rest is never taken into memory."""

    async def main():
        async with FaultServer() as server, client(server, tries=1) as it:
            with pytest.raises(EngineError):
                await it.complete(chat("[[huge-chunked]]"))
            assert (await it.complete(chat("p"))).text == "p"

    run(main())


def test_a_cancelled_call_gives_its_place_back():
    """While it is sent, and while it is in line."""

    async def main():
        async with FaultServer() as server, client(server, concurrency=2) as it:
            (replica,) = it.pool.replicas
            sent = [asyncio.create_task(it.complete(chat(f"[[never]] {i}"))) for i in range(2)]
            await until(lambda: server.running == 2)
            line = [asyncio.create_task(it.complete(chat(f"w{i}"))) for i in range(3)]
            await until(lambda: it.pool.waiting == 3)
            line[1].cancel()
            await until(lambda: it.pool.waiting == 2)
            sent[0].cancel()
            assert [(await line[i]).text for i in (0, 2)] == ["w0", "w2"]
            sent[1].cancel()
            await asyncio.gather(*sent, *line, return_exceptions=True)
            assert (replica.outstanding, it.pool.waiting) == (0, 0)
            await until(lambda: server.gone.total() == 2, what="the server sees that nobody waits any more")
            assert server.counts["w1"] == 0

    run(main())


def test_a_place_handed_to_who_is_just_cancelled_is_not_lost():
    async def main():
        async with FaultServer() as server, client(server, concurrency=1) as it:
            pool, (replica,) = it.pool, it.pool.replicas
            assert await pool.acquire() is replica
            first, second = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
            await until(lambda: pool.waiting == 2)
            pool.release(replica)  # the place is first's now, which has not run since
            first.cancel()
            assert await second is replica
            assert replica.outstanding == 1
            pool.release(replica)
            assert (replica.outstanding, pool.waiting) == (0, 0)

    run(main())


def test_places_are_given_in_turn():
    async def main():
        async with FaultServer(Faults(median_seconds=0.002)) as server, client(server, concurrency=1) as it:
            done: list[int] = []

            async def call(i):
                await it.complete(chat(f"p{i}"))
                done.append(i)

            await asyncio.gather(*(call(i) for i in range(30)))
            assert done == list(range(30))
            assert server.most_running == 1

    run(main())


def test_the_limit_is_fitted_to_the_servers_queue():
    async def main():
        async with (
            FaultServer(Faults(capacity=8, median_seconds=0.01)) as server,
            client(server, concurrency=64) as it,
        ):
            (replica,) = it.pool.replicas
            todo = iter(range(10_000))
            ending = asyncio.Event()

            async def caller():
                for i in todo:
                    if ending.is_set():
                        return
                    await it.complete(chat(f"p{i}"))

            callers = [asyncio.create_task(caller()) for _ in range(64)]
            await until(
                lambda: replica.limit.value <= 14, what="the limit falls to what runs and a short queue"
            )
            assert replica.limit.value >= 7
            server.faults.capacity = 64
            for _ in range(56):
                server._slots.release()
            await until(lambda: replica.limit.value >= 48, what="the limit grows with the server")
            ending.set()
            await asyncio.gather(*callers)

    run(main())


def test_a_higher_limit_is_used_at_once():
    """Not only when the next call ends: with long answers that is a GPU without work."""

    async def main():
        async with FaultServer() as server, client(server, concurrency=64) as it:
            (replica,) = it.pool.replicas
            replica.limit.value = 1
            calls = [asyncio.create_task(it.complete(chat(f"[[never]] {i}"))) for i in range(5)]
            await until(lambda: server.running == 5, what="the limit grows while nothing ends")
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    run(main())


def test_one_bad_call_does_not_take_its_server_out():
    """However often it is tried: the breaker counts calls, not tries."""

    async def main():
        async with FaultServer() as server, client(server, failures=2) as it:
            with pytest.raises(Broken):
                await it.complete(chat("[[500]]"))
            (replica,) = it.pool.replicas
            assert (replica.up, replica.turn) == (True, 0)

    run(main())
