"""Generated replies of v2: the same result in any split, without the scanner, and as by Python's JSON parser."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.results import ReplySummary
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.upstreams.twelvelabs.v1_support import DIMENSIONS, MEMBERS, packed, split
from tests.unit.upstreams.twelvelabs.v2_support import AUDIO, NEW, at_once, call, outcome, task_outcome

SNIPPETS = [
    *b'[]{}",:\\0 ',
    *MEMBERS.values(),
    "null",
    "NaN",
    '"data":[',
    '"embedding":[1,2,3]',
    '"usage":{}',
    "\ufeff",
]
NAMES = st.sampled_from(["data", "embedding", "usage", "metadata", "input_tokens", "truncated", "start_sec", "text"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.floats(-9, 9) | st.integers(-(2**70), 2**70)
VECTORS = st.lists(NUMBERS, min_size=DIMENSIONS, max_size=DIMENSIONS)
USAGE = st.fixed_dictionaries(
    {"input_tokens": st.dictionaries(NAMES, st.integers(-1, 9), max_size=2)}, optional={"truncated": st.booleans()}
)
CALLS = [
    call(model=NEW),
    call(model=NEW, has_uncertainty=True),
    call(AUDIO),
    call(AUDIO, NEW, has_uncertainty=True),
]
USUAL = (
    b'{"data":[{"embedding":[1,-2.5,3e-1],"embedding_option":null,"embedding_scope":null,"start_sec":null,'
    b'"end_sec":null}],"metadata":null,"usage":{"input_tokens":{"text":3},"truncated":false}}'
)


@st.composite
def documents(draw: st.DrawFn, mutations: int = 3) -> tuple[bytes, EmbedCall]:
    """The bytes of a reply, valid or mutated, and the call."""
    wanted = draw(st.sampled_from(CALLS))
    segment = st.fixed_dictionaries(
        {"embedding": VECTORS, "start_sec": st.integers(0, 9)},
        optional={"x": VALUES, "embedding_option": VALUES, "end_sec": VALUES, "embedding_uncertainty": VECTORS},
    )
    several = st.lists(segment, min_size=1, max_size=1 if wanted.input is not AUDIO else 3)
    whole = st.fixed_dictionaries(
        {"data": several, "status": st.just("ready")},
        optional={"x": VALUES, "metadata": VALUES, "usage": USAGE | VALUES},
    )
    data = bytearray(json.dumps(draw(whole), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, mutations))):
        at = draw(st.integers(0, len(data)))
        snippet = draw(st.sampled_from(SNIPPETS))
        data[at : at + draw(st.integers(0, 3))] = snippet.encode() if isinstance(snippet, str) else bytes([snippet])
    return bytes(data), wanted


@settings(max_examples=100, deadline=None)
@given(documents(), st.randoms())
def test_any_split_of_any_document(document: tuple[bytes, EmbedCall], rnd: random.Random) -> None:
    """Any split of any bytes gives the same segments and the same completion or fault as one piece."""
    data, wanted = document
    cuts = sorted(rnd.randint(0, len(data)) for _ in range(rnd.randint(1, 12)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert outcome(pieces, wanted) == outcome(split(data, 1), wanted) == outcome([data], wanted)
    assert at_once(data, wanted) in (None, outcome([data], wanted))
    assert task_outcome(pieces, wanted) == task_outcome(split(data, 1), wanted) == task_outcome([data], wanted)


@settings(max_examples=100, deadline=None)
@given(documents(mutations=0))
def test_as_pythons_reader_understands_it(document: tuple[bytes, EmbedCall]) -> None:
    """The vectors of every reply that is accepted are those that Python's JSON parser finds."""
    data, wanted = document
    segments, end = outcome([data], wanted)
    if not isinstance(end, ReplySummary):
        return
    expected: list[Any] = json.loads(data)["data"]
    assert [segment.vector for segment in segments] == [packed(item["embedding"]) for item in expected]
    if wanted.has_uncertainty:
        found = [item.get("embedding_uncertainty") for item in expected]
        assert [segment.uncertainty for segment in segments] == [item and packed(item) for item in found]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The usual reply, mutated, truncated or with bytes after it."""
    data = bytearray(USUAL)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.one_of(st.binary(max_size=3), st.sampled_from(PIECES)))
    end = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(data[:end]) + draw(st.sampled_from([b"", b"", b" ", b"\0", b"{}", b"]"]))


PIECES = [
    *(bytes([byte]) for byte in b'[]{}",:\\0 -.e'),
    *(
        b'"x":0,',
        b"null",
        b"NaN",
        b"1e400",
        b"18446744073709551616",
        b"[1]",
        b'""',
        b"true",
        b'"text":4,',
        b'"data":1,',
    ),
    *(b"\xff", b"\xef\xbb\xbf", rb"\u006d", b"\x7f", b'"usage":null,', b'"truncated":true,', b"1e39", b"{}"),
]


@settings(max_examples=250, deadline=None)
@given(mutated())
def test_any_reply_is_the_same_read_at_once(data: bytes) -> None:
    """A mutated usual reply is left to the scanner or gives the same vector and summary."""
    assert at_once(data, CALLS[0]) in (None, outcome([data], CALLS[0]))


def test_every_byte_replaced() -> None:
    """The same holds for each position of the reply with each of many bytes, and for each truncation."""
    assert at_once(USUAL, CALLS[0]) is not None
    for at in range(len(USUAL)):
        assert at_once(USUAL[:at], CALLS[0]) is None
        for byte in (*b'[]{}",:\\0 -.eEn', 0, 0x1F, 0x7F, 0x80, 0xC3, 0xFF):
            data = USUAL[:at] + bytes([byte]) + USUAL[at + 1 :]
            assert at_once(data, CALLS[0]) in (None, outcome([data], CALLS[0]))


@pytest.mark.parametrize("member", ['"data":[]', '"usage":null', '"metadata":null', '"usage":{"truncated":true}'])
def test_a_repeated_member(member: str) -> None:
    """A reply with a member twice is never read without the scanner: parsers differ in which one counts."""
    for data in (USUAL[:-1] + b"," + member.encode() + b"}", b"{" + member.encode() + b"," + USUAL[1:]):
        assert at_once(data, CALLS[0]) is None
    twice = USUAL.replace(b'{"text":3}', b'{"text":3,"text":4}')
    assert at_once(twice, CALLS[0]) is None
    _, end = outcome([twice], CALLS[0])
    assert isinstance(end, ReplySummary)
    assert end.input_tokens == {"text": 4}
