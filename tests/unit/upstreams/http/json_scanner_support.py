"""Replies of the v1 endpoint of any form, and their segments."""

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.twelvelabs import v1_reply
from embedwire_server.upstreams.twelvelabs.v1 import V1ReplyParser

DIMENSIONS = 3
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
