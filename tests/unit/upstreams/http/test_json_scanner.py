"""The JSON scanner: from the bytes of a reply to its segments, for any bytes in any chunks."""

import json
import random
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.models import BUILT_IN, Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http import json_scanner as decoding
from embedwire_server.upstreams.http.json_scanner import ReplyDecoder
from embedwire_server.upstreams.twelvelabs import v1_reply
from embedwire_server.upstreams.twelvelabs.v1 import V1ReplyParser

DIMENSIONS = 3
CHUNK = 256 << 10
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Number(str):
    """A number as it is written in the reply."""

    __slots__ = ()


def render(value: Any, rnd: random.Random) -> str:
    """JSON with random spacing and a random order of members."""

    def gap() -> str:
        return rnd.choice(("", "", "", " ", "\n", "\t ", "\r\n"))

    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(gap() + render(item, rnd) + gap() for item in value) + "]"
    if isinstance(value, dict):
        members = list(value.items())
        rnd.shuffle(members)
        return "{" + ",".join(f"{gap()}{json.dumps(k)}{gap()}:{gap()}{render(v, rnd)}{gap()}" for k, v in members) + "}"
    return json.dumps(value, ensure_ascii=rnd.random() < 0.5)


def chunked(data: bytes, rnd: random.Random) -> list[bytes]:
    """Split the bytes at random, sometimes into single bytes, sometimes with empty pieces."""
    pieces = rnd.choice((1, 2, 5, 20, len(data)))
    if pieces == len(data):
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rnd.randint(0, len(data)) for _ in range(pieces - 1))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def decode(
    chunks: Iterable[bytes], modality: Modality = Modality.TEXT, dimensions: int = DIMENSIONS
) -> tuple[list[Segment], ReplySummary]:
    segments, end = outcome(chunks, modality, dimensions)
    if isinstance(end, MalformedReplyError):
        raise end
    return segments, end


def outcome(
    chunks: Iterable[bytes], modality: Modality, dimensions: int = DIMENSIONS
) -> tuple[list[Segment], ReplySummary | MalformedReplyError]:
    """Return all segments and the summary or fault of a reply."""
    parser = V1ReplyParser(modality, dimensions)
    segments: list[Segment] = []
    for chunk in chunks:
        segments += parser.feed(chunk)
        if parser.fault is not None:
            return segments, parser.fault
    try:
        return segments, parser.finish()
    except MalformedReplyError as fault:
        return segments, fault


def packed(numbers: Iterable[str]) -> bytes:
    return b"".join(np.float32(float(number)).tobytes() for number in numbers)


def reply(segments: str, modality: str = "text", more: str = "") -> bytes:
    return f'{{"model_name":"m","{modality}_embedding":{{"segments":{segments}}}{more}}}'.encode()


def vector(numbers: str) -> bytes:
    return reply(f'[{{"float":{numbers}}}]')


NUMBERS = st.one_of(
    st.floats(-1, 1).map(repr),
    st.floats(-1, 1).map(lambda x: f"{x:.8E}"),
    st.floats(-FLOAT32_MAX, FLOAT32_MAX).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.sampled_from(["-0.0", "1e-400", "1E+38", "3.4028235e38", "1.17549435e-38", "1e-45", "0.1e1", "16777217"]),
).map(Number)
TEXTS = st.text(st.sampled_from('[]{}":,\\/ab\n\x7fé€\U0001f98a'), max_size=12)
KEYS = st.one_of(TEXTS, st.sampled_from(["segments", "text_embedding", "audio_embedding", "float", "model_name"]))
UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MORE = st.dictionaries(KEYS.map(lambda key: "x" + key), UNKNOWN, max_size=2)


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Modality, list[dict[str, Any]]]:
    """The bytes of a valid reply, its modality, and its segments."""
    modality = draw(st.sampled_from(Modality))
    count = draw(st.integers(1, 4)) if modality is Modality.AUDIO else 1
    segments = []
    for _ in range(count):
        segment: dict[str, Any] = {"float": draw(st.lists(NUMBERS, min_size=DIMENSIONS, max_size=DIMENSIONS))}
        if modality is Modality.AUDIO:
            segment["start_offset_sec"] = draw(st.floats(0, 1e6) | st.integers(0, 1000))
            segment |= draw(st.sampled_from([{}, {"end_offset_sec": 2.5}, {"embedding_option": "au]di\\o"}]))
        segments.append(segment)
    sent = [segment | draw(MORE) for segment in segments]
    embedding = draw(MORE) | {"segments": sent, "metadata": {"input_filename": 'a"[.mp3'}}
    whole = draw(MORE) | {"model_name": "m", v1_reply.embedding_name(modality): embedding}
    return render(whole, draw(st.randoms())).encode(), modality, segments


@settings(max_examples=80)
@given(replies(), st.randoms())
def test_every_segment(made: tuple[bytes, Modality, list[dict[str, Any]]], rnd: random.Random) -> None:
    """Any valid reply in any chunks gives exactly its segments in order, with the nearest float32 values."""
    data, modality, expected = made
    segments, summary = decode(chunked(data, rnd), modality)
    assert [segment.vector for segment in segments] == [packed(segment["float"]) for segment in expected]
    for segment, sent in zip(segments, expected, strict=True):
        assert segment.start_offset_sec == sent.get("start_offset_sec")
        assert segment.end_offset_sec == sent.get("end_offset_sec")
        assert segment.embedding_option == sent.get("embedding_option", "")
    assert summary == ReplySummary("m", input_filename='a"[.mp3')


@pytest.mark.parametrize("model", BUILT_IN, ids=lambda model: model.name)
@pytest.mark.parametrize("modality", list(Modality))
def test_full_vectors(model: Any, modality: Modality) -> None:
    """Vectors of full length are decoded bit for bit, also byte by byte."""
    rnd = random.Random(model.dimensions)
    count = 3 if modality is Modality.AUDIO else 1
    vectors = [[Number(repr(rnd.gauss(0, 0.05))) for _ in range(model.dimensions)] for _ in range(count)]
    segments = [{"float": numbers, "start_offset_sec": 6.0 * at} for at, numbers in enumerate(vectors)]
    data = render({"model_name": model.name, f"{modality}_embedding": {"segments": segments}}, rnd).encode()
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))], [data[:-1], data[-1:]]):
        decoded, summary = decode(chunks, modality, model.dimensions)
        assert [segment.vector for segment in decoded] == [packed(numbers) for numbers in vectors]
        assert summary == ReplySummary(model.name)


def test_segment_is_given_at_once() -> None:
    """A segment is emitted with its last byte, not at the end of the reply."""
    decoder = ReplyDecoder("audio_embedding")
    first = b'{"float":[1,2,3]}'
    assert decoder.feed(b'{"audio_embedding":{"segments":[' + first[:-1]) == []
    assert decoder.feed(first[-1:]) == [first]
    assert decoder.feed(b"," + first + b"," + first + b"]") == [first, first]
    assert decoder.elements == 3


@pytest.mark.parametrize("data", [b"}", b"{}}", b'{"x":[]]}]'], ids=["first", "after the end", "of another kind"])
def test_refused_at_once(data: bytes) -> None:
    """A prefix of no valid reply is refused before the end."""
    decoder = ReplyDecoder("text_embedding")
    decoder.feed(data)
    assert re.search(r"brackets do not match|not a JSON object", str(decoder.fault))


@settings(max_examples=50)
@given(replies(), st.randoms(), st.data())
def test_cut_short(made: tuple[bytes, Modality, list[dict[str, Any]]], rnd: random.Random, data: st.DataObject) -> None:
    """A valid reply that is truncated anywhere is malformed at its end."""
    whole, modality, _ = made
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    decoder = ReplyDecoder(v1_reply.embedding_name(modality))
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
    decoder = ReplyDecoder("text_embedding")
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


def test_memory_of_a_long_reply() -> None:
    """Of a reply of many segments, at most one is in memory."""
    element = b'{"float":[' + b",".join([b"0.123456789"] * 512) + b"]}"
    decoder = ReplyDecoder("text_embedding")
    decoder.feed(b'{"text_embedding":{"segments":[' + element)
    for count in range(2, 1001):
        assert decoder.feed(b"," + element) == [element]
        assert decoder.elements == count
        assert decoder.buffered_bytes < 4000


def test_an_integer_of_any_size_in_an_unknown_member() -> None:
    """An unknown member may have an integer of any size."""
    decoder = ReplyDecoder("text_embedding")
    decoder.feed(b'{"model_name":"m","usage":1' + b"0" * 50 + b',"text_embedding":{"segments":[{"float":[1]}]}}')

    assert decoder.end()["model_name"] == "m"
