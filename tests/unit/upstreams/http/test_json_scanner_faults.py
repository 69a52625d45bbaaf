"""The JSON scanner: replies that are malformed, truncated or too large."""

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.models import Modality
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http import json_scanner as decoding
from embedwire_server.upstreams.http.json_scanner import ReplyDecoder
from embedwire_server.upstreams.twelvelabs import v1_reply
from tests.unit.upstreams.http.json_scanner_support import chunked, decode, replies, reply, vector

CHUNK = 256 << 10


@pytest.mark.parametrize("data", [b"}", b"{}}", b'{"x":[]]}]'], ids=["first", "after the end", "of another kind"])
def test_refused_at_once(data: bytes) -> None:
    """A prefix of no valid reply is refused before the end."""
    decoder = ReplyDecoder("text_embedding", "segments")
    decoder.feed(data)
    assert re.search(r"brackets do not match|not a JSON object", str(decoder.fault))


@settings(max_examples=50)
@given(replies(), st.randoms(), st.data())
def test_cut_short(made: tuple[bytes, Modality, list[dict[str, Any]]], rnd: random.Random, data: st.DataObject) -> None:
    """A valid reply that is truncated anywhere is malformed at its end."""
    whole, modality, _ = made
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    decoder = ReplyDecoder(v1_reply.embedding_name(modality), "segments")
    for chunk in chunked(cut, rnd):
        decoder.feed(chunk)
    with pytest.raises(MalformedReplyError, match="is truncated"):
        decoder.end()


SNIPPETS = (b"[", b"]", b"{", b"}", b'"', b"\\", b",", b"0", b"null", b"NaN", b"1e999", b"\x00", b"\xff", b"")


@settings(max_examples=100)
@given(replies(), st.randoms())
def test_broken_bytes(made: tuple[bytes, Modality, list[dict[str, Any]]], rnd: random.Random) -> None:
    """Mutated bytes of a reply raise nothing but MalformedReplyError."""
    whole, modality, _ = made
    for _ in range(5):
        broken = bytearray(whole)
        for _ in range(rnd.randint(1, 4)):
            at, copied = rnd.randint(0, len(broken)), rnd.randint(0, len(whole))
            broken[at : at + rnd.randint(0, 3)] = rnd.choice((*SNIPPETS, whole[copied : copied + 20]))
        try:
            decode(chunked(bytes(broken), rnd), modality)
        except MalformedReplyError as error:
            assert str(error)  # noqa: PT017 - a good reply may come out as well


@settings(max_examples=100)
@given(st.binary(min_size=1, max_size=60), st.randoms())
def test_any_bytes(data: bytes, rnd: random.Random) -> None:
    """Arbitrary bytes are malformed."""
    with pytest.raises(MalformedReplyError):
        decode(chunked(data, rnd))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"  \n", id="only spaces"),
        pytest.param(b"Bad gateway", id="plain text"),
        pytest.param(b"<html><body>{}</body></html>", id="HTML"),
        pytest.param(b"[]", id="top-level array"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(vector("[1,2,NaN]"), id="NaN"),
        pytest.param(vector("[1,2,Infinity]"), id="Infinity"),
        pytest.param(vector("[1,2,1e400]"), id="beyond float64"),
        pytest.param(vector("[1,2,1e39]"), id="beyond float32"),
        pytest.param(vector("[1,2,-1e39]"), id="below float32"),
        pytest.param(vector("[1,2,1e200]"), id="far beyond float32"),
        pytest.param(vector("[1,2,true]"), id="boolean"),
        pytest.param(vector("[1,2,null]"), id="null in a vector"),
        pytest.param(vector('[1,2,"3"]'), id="string in a vector"),
        pytest.param(vector("[1,2,{}]"), id="object in a vector"),
        pytest.param(vector("[[1,2,3]]"), id="nested vector"),
        pytest.param(vector("[[1],[2],[3]]"), id="nested list of every number"),
        pytest.param(vector("[1,[2],3]"), id="nested list of one number"),
        pytest.param(vector("[[],[1,2],3]"), id="nested lists that sum up"),
        pytest.param(vector("[1,2]"), id="too few dimensions"),
        pytest.param(vector("[1,2,3,4]"), id="too many dimensions"),
        pytest.param(vector("[]"), id="empty vector"),
        pytest.param(vector("[1,2,3,]"), id="trailing comma"),
        pytest.param(vector("[1,,2,3]"), id="double comma"),
        pytest.param(vector("[01,2,3]"), id="leading zero"),
        pytest.param(vector("[.5,2,3]"), id="leading point"),
        pytest.param(vector('"123"'), id="string for a vector"),
        pytest.param(vector("null"), id="null for a vector"),
        pytest.param(vector('{"a":1,"b":2,"c":3}'), id="object for a vector"),
        pytest.param(vector("[1,2,3}"), id="vector closed by a brace"),
        pytest.param(reply('[{"double":[1,2,3]}]'), id="no vector"),
        pytest.param(reply('[{"float":[1,2,3]]]'), id="segment closed by a bracket"),
        pytest.param(reply('[{"float":[1,2,3]}}'), id="list closed by a brace"),
        pytest.param(reply("[]"), id="no segments"),
        pytest.param(reply("[0]"), id="number for a segment"),
        pytest.param(reply('[0,{"float":[1,2,3]}]'), id="number beside a segment"),
        pytest.param(reply("[[1,2,3]]"), id="list for a segment"),
        pytest.param(reply('["a",{"float":[1,2,3]}]'), id="string beside a segment"),
        pytest.param(reply('[[],{"float":[1,2,3]}]'), id="list beside a segment"),
        pytest.param(reply('{"float":[1,2,3]}'), id="one segment without a list"),
        pytest.param(reply('[{"float":[1,2,3]} {"float":[1,2,3]}]'), id="no comma between segments"),
        pytest.param(vector("[1,2,3]") + b"x", id="trailing letter"),
        pytest.param(vector("[1,2,3]") + b"}", id="trailing brace"),
        pytest.param(vector("[1,2,3]") + b"\x00", id="trailing NUL"),
        pytest.param(vector("[1,2,3]") + vector("[1,2,3]"), id="two replies"),
        pytest.param(vector("[1,2,3]")[:-1] + b',"x":}', id="member without a value"),
        pytest.param(reply('[{"float":[1,2,3]}]', more=',"x":"\xff'[:-1] + '\\q"'), id="unknown escape"),
        pytest.param(b'{"model_name":"\xff","text_embedding":{"segments":[{"float":[1,2,3]}]}}', id="not UTF-8"),
        pytest.param(b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", id="deep envelope"),
        pytest.param(reply('[{"float":[1,2,3],"x":' + "[" * 5000 + "]" * 5000 + "}]"), id="deep segment"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["by byte", "by seven", "at once"])
def test_malformed(data: bytes, size: int) -> None:
    """A reply that violates the API is malformed, and the message quotes nothing of it."""
    with pytest.raises(MalformedReplyError) as caught:
        decode(data[at : at + size] for at in range(0, len(data), size))
    assert len(str(caught.value)) < 60


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        pytest.param('"float":[1,2,3]', "has no start_offset_sec", id="no start"),
        pytest.param('"float":[1,2,3],"start_offset_sec":null', "has no start_offset_sec", id="null start"),
        pytest.param('"float":[1,2,3],"start_offset_sec":true', "offset", id="boolean start"),
        pytest.param('"float":[1,2,3],"start_offset_sec":"0"', "offset", id="string start"),
        pytest.param('"float":[1,2,3],"start_offset_sec":0,"end_offset_sec":[1]', "offset", id="list end"),
    ],
)
def test_audio_offsets(segment: str, message: str) -> None:
    """An audio segment has a start offset in seconds and optionally an end offset."""
    with pytest.raises(MalformedReplyError, match=message):
        decode([reply(f"[{{{segment}}}]", "audio")], Modality.AUDIO)


SEGMENTS = b'{"text_embedding":{"segments":['


@pytest.mark.parametrize(
    ("start", "filling"),
    [
        pytest.param(b"", b" ", id="spaces before"),
        pytest.param(b"{", b" ", id="spaces within"),
        pytest.param(b"{}", b" ", id="spaces after"),
        pytest.param(b'{"x":"', b"a", id="envelope, one string"),
        pytest.param(b'{"x":"', b"\\\\", id="envelope, one string of escapes"),
        pytest.param(b'{"x":[', b"1,", id="envelope, one list"),
        pytest.param(b'{"x":[', b"[],", id="envelope, many lists"),
        pytest.param(b"{", b'"x":"",', id="envelope, many members"),
        pytest.param(SEGMENTS, b"0,", id="list of numbers"),
        pytest.param(SEGMENTS, b"[],", id="list of lists"),
        pytest.param(SEGMENTS, b"{},", id="list of empty segments"),
        pytest.param(SEGMENTS + b'{"x":"', b"a", id="segment, one string"),
        pytest.param(SEGMENTS + b"{", b'"x":"",', id="segment, many members"),
        pytest.param(SEGMENTS + b'{"float":[', b"1,", id="segment, one vector"),
        pytest.param(SEGMENTS + b'{"x":[', b"[", id="segment, depth"),
    ],
)
def test_too_large(start: bytes, filling: bytes) -> None:
    """An endless envelope or segment is refused, with bounded memory before that."""
    decoder = ReplyDecoder("text_embedding", "segments")
    filling *= CHUNK // len(filling)
    cap = decoding.MAX_ELEMENT_BYTES + decoding.MAX_ENVELOPE_BYTES
    decoder.feed(start)

    def fill() -> None:
        for _ in range(10 * cap // CHUNK):
            decoder.feed(filling)
            if decoder.fault is not None:
                raise decoder.fault
            assert decoder.buffered_bytes <= cap

    with pytest.raises(MalformedReplyError, match=r"too (large|deeply)"):
        fill()
