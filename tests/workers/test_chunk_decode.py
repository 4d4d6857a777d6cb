"""Encodings: what the bytes are goes before what anybody says; binary is refused."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.chunk.decode import decode
from workers.chunk.reasons import Reason, Unusable

GERMAN = "Die Straße führt über die Brücke. " * 20


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "naïve café 日本語"),
        ("utf-8-sig", "with a mark"),
        ("utf-16", "with a mark, two bytes each"),
        ("utf-32", "with a mark, four bytes each"),
        ("cp1252", GERMAN),
        ("iso-8859-1", GERMAN),
        ("cp1251", "Привет мир, как твои дела сегодня? " * 20),
        ("koi8-r", "Привет мир, как твои дела сегодня? " * 20),
        ("shift_jis", "日本語のテキストです。" * 20),
        ("iso-2022-jp", "日本語のテキストです。" * 20),
        ("gbk", "这是一个中文网页的内容。" * 20),
    ],
)
def test_declared_encodings_are_read(encoding, text):
    assert decode(text.encode(encoding), encoding.removesuffix("-sig")) == text


def test_what_is_utf_8_is_utf_8_whatever_it_claims():
    page = f'<meta charset="iso-8859-1">{GERMAN}'
    assert decode(page.encode(), "windows-1252") == page


@pytest.mark.parametrize(
    "head", ['<meta charset="windows-1251">', '<?xml version="1.0" encoding="windows-1251"?>']
)
def test_page_says_its_encoding(head):
    page = head + "Да, это по-русски. " * 10
    assert decode(page.encode("cp1251")) == page


def test_undeclared_encoding_is_detected():
    text = "Привет мир, как твои дела сегодня? Сегодня хорошая погода. " * 20
    assert decode(text.encode("cp1251")) == text


@pytest.mark.parametrize("declared", ["no-such-encoding", "utf-7", "x-user-defined", "\0", "utf-16"])
def test_a_declaration_that_makes_no_sense_is_passed_over(declared):
    assert decode(GERMAN.encode("cp1252"), declared) == GERMAN
    assert decode(b"plain words", declared) == "plain words"


def test_a_page_cut_inside_a_character_is_still_a_page():
    text = decode((GERMAN + "日").encode()[:-1], "utf-8")
    assert text == GERMAN + "\ufffd"


@pytest.mark.parametrize(
    "payload",
    [bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n" + os.urandom(5000), b"a\0b\0c" * 100, os.urandom(3000)],
    ids=["all bytes", "picture", "nulls", "noise"],
)
def test_binary_is_no_text(payload):
    with pytest.raises(Unusable) as caught:
        decode(payload)
    assert caught.value.reason is Reason.UNDECODABLE


@given(st.binary(max_size=400), st.sampled_from(["", "utf-8", "latin-1", "utf-16", "gbk", "nonsense"]))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_text_or_refused(payload, declared):
    try:
        text = decode(payload, declared)
    except Unusable:
        return
    assert text.encode()[:0] == b"", "no half of a surrogate pair is left"
    assert len(text) <= len(payload)
