"""What goes to a model server and what is read of its answers: pure, hostile bytes included."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Broken, Refused, SettingsError
from streams.settings.engines import EngineSettings
from workers.engines.openai import Api, JsonSchema, Message, Request, Sampling
from workers.engines.openai.answer import WORDS_CHARACTERS, read, safe, words
from workers.engines.openai.request import Wire

SCHEMA = JsonSchema("verdict", b'{"type": "object", "properties": {"score": {"type": "integer"}}}')


def test_a_request_is_what_the_protocol_says():
    wire = Wire("m", {"chat_template_kwargs": {"enable_thinking": False}})
    request = Request(
        (Message("system", "s"), Message("user", 'a "quoted"\nline')),
        Sampling(0.5, 64, ("\n\n", "</s>"), SCHEMA),
        seed=2**63 - 1,
    )
    assert json.loads(wire.encode(request)) == {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": 'a "quoted"\nline'}],
        "seed": 2**63 - 1,
        "chat_template_kwargs": {"enable_thinking": False},
        "model": "m",
        "temperature": 0.5,
        "max_tokens": 64,
        "stream": False,
        "stop": ["\n\n", "</s>"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": json.loads(SCHEMA.schema)},
        },
    }


def test_a_text_goes_to_the_completions_api():
    request = Request("once", Sampling(0.0, 8))
    assert request.api is Api.TEXT
    assert json.loads(Wire("m", {}).encode(request)) == {
        "prompt": "once",
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 8,
        "stream": False,
    }


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_whatever_a_document_holds_it_stays_a_value(text, seed):
    """Quotes, braces, our own field names, control characters: none ends the string it is in."""
    body = json.loads(Wire("m", {}).encode(Request((Message("user", text),), Sampling(0.0, 1), seed)))
    assert body["messages"] == [{"role": "user", "content": text}]
    assert (body["model"], body["max_tokens"], body["seed"]) == ("m", 1, seed)


def test_half_a_surrogate_pair_is_refused_before_it_is_sent():
    with pytest.raises(Refused, match="no Unicode text"):
        Wire("m", {}).encode(Request("\ud800", Sampling(0.0, 1)))


def chat(**fields):
    return json.dumps(fields).encode()


def test_an_answer_is_read_with_its_costs():
    body = chat(
        choices=[{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 8},
            "total_tokens": 11,
        },
        model="served",
        unknown={"more": []},
    )
    it = read(Api.CHAT, body, "http://a/v1", 0.5)
    assert (it.text, it.finish_reason, it.prompt_tokens, it.cached_tokens, it.completion_tokens) == (
        "hi",
        "stop",
        9,
        8,
        2,
    )
    assert (it.model, it.replica, it.seconds) == ("served", "http://a/v1", 0.5)


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"tool_calls": []}, "finish_reason": None}], "usage": None, "model": None},
        {"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens_details": None}},
    ],
)
def test_an_empty_answer_is_an_answer(fields):
    it = read(Api.CHAT, chat(**fields), "r", 0.0)
    assert (it.text, it.prompt_tokens, it.cached_tokens) == ("", 0, 0)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is no JSON"),
        (b"<html>502</html>", "is no JSON"),
        (b'{"choices": [{"mess', "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b'{"choices": [{"message": {"content": "\\ud800"}}]}', "is no JSON"),
        (b"[" * 100_000, "is no JSON|has not the fields"),
        (b'{"choices": [{"message": {"content": ' + b"[" * 100_000, "is no JSON|has not the fields"),
        (chat(choices=[]), "no choices"),
        (chat(error="x"), "has not the fields"),
        (chat(choices=[{"message": {"content": 7}}]), "has not the fields"),
        (chat(choices=[{"message": {"content": "a"}}], usage={"prompt_tokens": -1}), "has not the fields"),
        (chat(choices=[{"message": {"content": "a"}}], usage={"prompt_tokens": 2**70}), "has not the fields"),
    ],
)
def test_what_is_no_answer_says_so(body, says):
    with pytest.raises(Broken, match=says):
        read(Api.CHAT, body, "r", 0.0)


def test_the_two_apis_are_not_mixed_up():
    with pytest.raises(Broken, match="has not the fields"):
        read(Api.TEXT, chat(choices=[{"message": {"content": "a"}}]), "r", 0.0)
    assert read(Api.TEXT, chat(choices=[{"text": "a"}]), "r", 0.0).text == "a"


@given(st.binary())
def test_any_bytes_are_an_answer_or_broken(body):
    for api in Api:
        with contextlib.suppress(Broken):
            assert read(api, body, "r", 0.0).text is not None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "too long"),
        (b'{"error": "no such thing"}', "no such thing"),
        (b'{"object": "error", "message": "old vLLM"}', "old vLLM"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body"]}]}', '{"detail": [{"loc": ["body"]}]}'),
        (b"plain", "plain"),
        (b"", "(it says nothing)"),
    ],
)
def test_a_servers_words_are_found(body, says):
    assert words(body) == says


@given(st.binary() | st.text().map(lambda t: json.dumps({"error": {"message": t}}).encode()))
def test_words_are_bounded_and_printable(body):
    said = safe(words(body), "")
    assert said.isprintable()
    assert 0 < len(said) <= WORDS_CHARACTERS
    said.encode()


@given(st.integers(0, 3000))
def test_no_part_of_the_key_is_in_the_words(before):
    key = "sk-" + "abcdefghij" * 4
    said = safe(words(b"." * before + f"your key is {key}".encode()), key)
    assert key[:12] not in said


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h/v1/", "http://h/v1"),
        ("https://h/openai/deployments/x", "https://h/openai/deployments/x"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_bases_are_normalised(url, base):
    assert EngineSettings(urls=(url,)).urls == (base,)


@pytest.mark.parametrize(
    "urls", [(), ("h:8000",), ("ftp://h",), ("http://",), ("http://h?a=1",), ("http://h", "http://h/v1")]
)
def test_what_is_no_base_is_refused(urls):
    with pytest.raises(ValueError, match="urls"):
        EngineSettings(urls=urls)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(ValueError, match="credentials") as caught:
        EngineSettings(urls=("http://me:s3cret@h",))
    assert "s3cret" not in str([e["msg"] for e in caught.value.errors()])


def test_the_key_comes_from_the_environment_only(monkeypatch):
    assert EngineSettings().api_key() is None
    named = EngineSettings(api_key_env="SOME_KEY")
    with pytest.raises(SettingsError, match="SOME_KEY"):
        named.api_key()
    monkeypatch.setenv("SOME_KEY", "a\nb")
    with pytest.raises(SettingsError, match="header"):
        named.api_key()
    monkeypatch.setenv("SOME_KEY", "sk-123")
    secret = named.api_key()
    assert secret.get_secret_value() == "sk-123"
    assert "sk-123" not in f"{named!r} {secret!r} {named.model_dump_json()}"
    with pytest.raises(ValueError, match="NAME") as caught:
        EngineSettings(api_key_env="sk-123")
    assert "sk-123" not in str([e["msg"] for e in caught.value.errors()])


def test_only_what_shapes_answers_is_in_the_hash():
    assert set(EngineSettings().shaping()) == {"model", "temperature", "max_tokens", "seed", "extra"}
