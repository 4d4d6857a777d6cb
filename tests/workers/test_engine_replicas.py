"""Several servers, and their ends: killed, hung, sick, restarted. No call is lost or burnt for a server."""

from __future__ import annotations

import asyncio

import pytest
from kit.engine import chat, client, run, until
from kit.fault_server import Faults, FaultServer

from streams.errors import Broken, Misconfigured, Unavailable
from workers.engines.openai import Spent
from workers.engines.openai.pool import LOOK_AHEAD


async def every(calls):
    return await asyncio.gather(*calls, return_exceptions=True)


def test_calls_go_where_the_fewest_are_under_way():
    async def main():
        slow = Faults(median_seconds=0.05)
        async with FaultServer(slow) as a, FaultServer() as b, client(a, b) as it:
            await asyncio.gather(*(it.complete(chat(f"p{i}")) for i in range(20)))
            assert a.counts.total() + b.counts.total() == 20
            assert abs(a.counts.total() - b.counts.total()) <= 1, "all at once: in turn"

            async def caller(n):
                for i in range(25):
                    await it.complete(chat(f"{n}.{i}"))

            before = a.counts.total()
            await asyncio.gather(*(caller(n) for n in range(8)))
            assert 3 * (a.counts.total() - before) < 200, "one after the other: the quick one takes more"

    run(main())


@pytest.mark.parametrize(("at_once", "concurrency"), [(40, 40), (64, 4)])
def test_calls_with_the_same_head_go_to_the_same_server(at_once, concurrency):
    """Where places are free, and where all wait in line; and no server is left without work for it."""

    async def main():
        slow = Faults(median_seconds=0.005)
        servers = [FaultServer(slow) for _ in range(3)]
        for server in servers:
            await server.start()
        async with client(*servers, concurrency=concurrency) as it:
            todo = iter([(document, i) for document in range(100) for i in range(5)])

            async def caller():
                for document, i in todo:
                    await it.complete(chat(f"{document} {i}", near=document))

            await asyncio.gather(*(caller() for _ in range(at_once)))
        asked = [{prompt.split()[0] for prompt in server.counts} for server in servers]
        copies = sum(map(len, asked)) / 100
        assert copies < 1.3, "servers that saw a document; 3 of 3 where calls are only spread"
        assert all(server.counts.total() > 120 for server in servers)
        for server in servers:
            await server.kill()

    run(main())


def test_nobody_in_line_is_passed_by_for_ever():
    """The first in line wants a server that stays full; the other goes on taking who wants it."""

    async def main():
        async with FaultServer() as a, FaultServer() as b, client(a, b, concurrency=1) as it:
            pool, (first, second) = it.pool, it.pool.replicas
            assert {await pool.acquire(), await pool.acquire()} == {first, second}
            head = asyncio.create_task(pool.acquire(near=0))
            await until(lambda: pool.waiting == 1)
            others = [asyncio.create_task(pool.acquire(near=1)) for _ in range(200)]
            await until(lambda: pool.waiting == 201)
            passed_by = 0
            while not head.done():
                pool.release(second)
                await asyncio.sleep(0)
                passed_by += not head.done()
            assert passed_by == LOOK_AHEAD
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    run(main())


def test_a_server_killed_under_its_calls_loses_none():
    async def main():
        slow = Faults(median_seconds=0.2)
        async with (
            FaultServer(slow) as a,
            FaultServer(slow) as b,
            client(a, b, probe_seconds=60) as it,
        ):
            calls = [asyncio.create_task(it.complete(chat(f"p{i}"))) for i in range(40)]
            await until(lambda: a.running == b.running == 20)
            await a.kill()
            texts = {(await call).text for call in calls}
            assert texts == {f"p{i}" for i in range(40)}
            assert all(count <= 2 for count in (a.counts + b.counts).values())
            assert b.answered.total() == 40
            assert (await it.complete(chat("late"))).replica == b.url
            assert it.pool.up == 1

    run(main())


def test_a_server_that_hangs_is_noticed_by_the_deadline_and_gets_no_more_calls():
    async def main():
        async with (
            FaultServer() as a,
            FaultServer() as b,
            client(a, b, failures=3, timeout_seconds=0.4) as it,
        ):
            a.faults.hanging = True
            got = await asyncio.gather(*(it.complete(chat(f"p{i}")) for i in range(20)))
            assert {g.replica for g in got} == {b.url}
            await until(lambda: it.pool.up == 1)
            asked = a.counts.total() - a.counts["Hello"]
            await asyncio.gather(*(it.complete(chat(f"q{i}")) for i in range(50)))
            assert a.counts.total() - a.counts["Hello"] == asked
            a.faults.hanging = False
            await until(lambda: it.pool.up == 2, what="it generates again, so it is back")
            await asyncio.gather(*(it.complete(chat(f"r{i}")) for i in range(20)))
            assert any(a.counts[f"r{i}"] for i in range(20))

    run(main())


def test_with_few_calls_too_a_hung_server_is_soon_out():
    """Its /health says 200 all the time: only a token counts."""

    async def main():
        async with FaultServer(Faults(hanging=True)) as server, client(server, timeout_seconds=0.2) as it:
            call = asyncio.create_task(it.complete(chat("p"), wait=True))
            await until(lambda: not it.pool.up, seconds=2)
            asked, probes = server.counts["p"], server.counts["Hello"]
            assert asked <= 2
            await until(lambda: server.counts["Hello"] >= probes + 2, what="it is probed, and hangs")
            assert not it.pool.up
            assert server.counts["p"] == asked
            server.faults.hanging = False
            assert (await call).text == "p"

    run(main())


@pytest.mark.parametrize("wait", [False, True])
def test_while_no_server_is_up_nothing_is_burnt(wait):
    async def main():
        async with FaultServer() as server, client(server) as it:
            await server.kill()
            calls = [asyncio.create_task(it.complete(chat(f"p{i}"), wait=wait)) for i in range(30)]
            if wait:
                await until(lambda: not it.pool.up)
                await asyncio.sleep(0)
                assert not any(call.done() for call in calls)
            else:
                for call in calls:
                    with pytest.raises(Unavailable, match="start a server"):
                        await call
            waiting = asyncio.create_task(it.wait_until_up())
            await asyncio.sleep(0)
            assert not waiting.done()
            await server.start()
            await waiting
            if not wait:
                calls = [asyncio.create_task(it.complete(chat(f"p{i}"))) for i in range(30)]
            assert {(await call).text for call in calls} == {f"p{i}" for i in range(30)}
            assert all(server.counts[f"p{i}"] == 1 for i in range(30))

    run(main())


@pytest.mark.parametrize("sick", [500, 503, 429])
@pytest.mark.parametrize("at_once", [1, 20])
def test_a_server_that_fails_every_request_buries_none(sick, at_once):
    """A proxy whose server is down says 502 or 503 to all; however few the calls, none may be `Broken`."""

    async def main():
        async with FaultServer(Faults(sick=sick)) as server, client(server) as it:
            calls = [asyncio.create_task(it.complete(chat(f"p{i}"), wait=True)) for i in range(at_once)]
            await until(lambda: not it.pool.up)
            own = server.counts["Hello"]
            await until(lambda: server.counts["Hello"] >= own + 3, what="it is probed")
            assert not any(call.done() for call in calls)
            server.faults.sick = 0
            assert {(await call).text for call in calls} == {f"p{i}" for i in range(at_once)}
            assert it.counts["broken"] == 0

    run(main())


def test_a_page_instead_of_an_api_buries_nothing():
    """200 and HTML for everything: a wrong address. Every answer is unusable, no request is to blame."""

    async def main():
        async def page(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(page, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with client(f"http://127.0.0.1:{port}") as it:
            with pytest.raises(Unavailable, match="is no JSON"):
                await it.complete(chat("p"))
        server.close()

    run(main())


@pytest.mark.parametrize(
    "noise", [b"", b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 99999]
)
def test_what_speaks_no_http_is_out(noise):
    async def main():
        async def speak(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(noise)
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with client(f"http://127.0.0.1:{port}") as it:
            calls = [it.complete(chat(f"p{i}")) for i in range(8)]
            assert {type(error) for error in await every(calls)} == {Unavailable}
        server.close()

    run(main())


def test_one_replica_with_another_model_is_out_and_the_rest_goes_on():
    async def main():
        async with FaultServer(Faults(model="old")) as a, FaultServer() as b, client(a, b) as it:
            got = await asyncio.gather(*(it.complete(chat(f"p{i}")) for i in range(20)))
            assert {g.replica for g in got} == {b.url}
            await b.kill()
            with pytest.raises((Unavailable, Misconfigured), match="does not exist"):
                await it.complete(chat("p"))

    run(main())


def test_a_call_that_failed_here_is_tried_elsewhere():
    async def main():
        async with FaultServer(Faults(sick=500)) as a, FaultServer() as b, client(a, b, failures=99) as it:
            it.pool.replicas[1].outstanding += 3  # though it has more to do
            for i in range(10):
                assert (await it.complete(chat(f"p{i}"))).replica == b.url
            assert a.counts.total() > 0
            assert max(a.counts.values()) == 1

    run(main())


def test_a_call_that_kills_its_server_takes_no_other_along():
    """It dies each time the call comes. Who was lost beside it three times goes alone, and gets through."""

    async def main():
        async with (
            FaultServer(Faults(median_seconds=0.01)) as server,
            client(server) as it,
        ):
            bad = "p [[kill]]"

            async def nurse():
                while True:
                    await until(lambda: server._runner is None, seconds=60)
                    await server.start()

            nursing = asyncio.create_task(nurse())
            calls = [asyncio.create_task(it.complete(chat(f"p{i}"), wait=True)) for i in range(40)]
            guilty = asyncio.create_task(it.complete(chat(bad), wait=True))
            with pytest.raises(Broken, match="also alone"):
                await guilty
            assert {(await call).text for call in calls} == {f"p{i}" for i in range(40)}
            assert server.killed == server.counts[bad] == 5
            nursing.cancel()

    run(main())


def test_what_a_call_has_spent_outlives_unavailable():
    """Else a call that kills every server it meets would be tried for ever."""

    async def main():
        async with FaultServer() as server, client(server) as it:
            spent, deaths = Spent(), 0
            while True:
                try:
                    await it.complete(chat("[[kill]]"), spent=spent)
                except Unavailable:
                    deaths += 1
                    await until(lambda: server._runner is None)
                    await server.start()
                    await it.wait_until_up()
                except Broken:
                    break
            assert deaths <= 5
            assert server.killed == 5

    run(main())


def test_failures_from_before_a_restart_do_not_count():
    async def main():
        async with FaultServer() as server, client(server, timeout_seconds=0.5, failures=3) as it:
            (replica,) = it.pool.replicas
            old = [asyncio.create_task(it.complete(chat(f"[[never*1]] {i}"), wait=True)) for i in range(10)]
            await until(lambda: server.running == 10)
            it.pool.go_out(replica, "as if it were killed")
            await until(lambda: replica.up)
            turn = replica.turn
            assert len({(await call).text for call in old}) == 10
            assert replica.turn == turn, "their deadlines passed after it was back"

    run(main())
