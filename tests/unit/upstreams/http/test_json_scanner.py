"""The JSON scanner: from the bytes of a valid reply to its segments, in any chunks."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.models import BUILT_IN, Modality
from embedwire_server.core.results import ReplySummary
from embedwire_server.upstreams.http.json_scanner import ReplyDecoder
from tests.unit.upstreams.http.json_scanner_support import Number, chunked, decode, packed, render, replies


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
    decoder = ReplyDecoder("audio_embedding", "segments")
    first = b'{"float":[1,2,3]}'
    assert decoder.feed(b'{"audio_embedding":{"segments":[' + first[:-1]) == []
    assert decoder.feed(first[-1:]) == [first]
    assert decoder.feed(b"," + first + b"," + first + b"]") == [first, first]
    assert decoder.elements == 3


def test_memory_of_a_long_reply() -> None:
    """Of a reply of many segments, at most one is in memory."""
    element = b'{"float":[' + b",".join([b"0.123456789"] * 512) + b"]}"
    decoder = ReplyDecoder("text_embedding", "segments")
    decoder.feed(b'{"text_embedding":{"segments":[' + element)
    for count in range(2, 1001):
        assert decoder.feed(b"," + element) == [element]
        assert decoder.elements == count
        assert decoder.buffered_bytes < 4000


def test_an_integer_of_any_size_in_an_unknown_member() -> None:
    """An unknown member may have an integer of any size."""
    decoder = ReplyDecoder("text_embedding", "segments")
    decoder.feed(b'{"model_name":"m","usage":1' + b"0" * 50 + b',"text_embedding":{"segments":[{"float":[1]}]}}')

    assert decoder.end()["model_name"] == "m"
