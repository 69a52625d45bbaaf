"""Replies of texts in the usual form, which are parsed without the scanner."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from tests.unit.upstreams.twelvelabs.v1_support import at_once, outcome, packed

USUAL = b'{"model_name":"m","text_embedding":{"segments":[{"float":[1,-2.5,3e-1]}]}}'


@pytest.mark.parametrize("body", [USUAL, USUAL.replace(b":", b" : ").replace(b",", b" ,\n"), b" " + USUAL + b"\r\n"])
def test_the_usual_reply_is_read_at_once(body: bytes) -> None:
    """A usual reply for a text is parsed without the scanner, with the same result."""
    assert at_once(body) == outcome([body]) == ([Segment(packed([1, -2.5, 0.3]))], ReplySummary("m"))


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO])
def test_other_modalities_are_not_read_at_once(modality: Modality) -> None:
    """Replies of other modalities need the scanner: they have metadata or several segments."""
    assert at_once(USUAL.replace(b"text_", f"{modality}_".encode()), modality) is None


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The usual reply, mutated, truncated or with bytes after it."""
    data = bytearray(USUAL)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        snippet = draw(st.one_of(st.binary(max_size=3), st.sampled_from(PIECES)))
        data[at : at + draw(st.integers(0, 4))] = snippet
    end = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(data[:end]) + draw(st.sampled_from([b"", b"", b" ", b"\0", b"{}", b"]"]))


PIECES = [
    *(bytes([byte]) for byte in b'[]{}",:\\0 -.e'),
    *(b'"model_name":"n",', b'"x":0,', b"null", b"NaN", b"1e400", b"18446744073709551616", b"[1]", b'""', b"true"),
    *(b"\xff", b"\xef\xbb\xbf", rb"\u006d", b"\x7f", b'"error_message":"no",', b'{"float":[1,2,3]}', b"1e39"),
]


@settings(max_examples=250, deadline=None)
@given(mutated())
def test_any_reply_is_the_same_read_at_once(data: bytes) -> None:
    """A mutated reply is left to the scanner or gives the same vector and summary."""
    assert at_once(data) in (None, outcome([data]))


def test_every_byte_replaced() -> None:
    """The same holds for each position of the reply with each of many bytes, and for each truncation."""
    for at in range(len(USUAL)):
        assert at_once(USUAL[:at]) is None
        for byte in (*b'[]{}",:\\0 -.eEn', 0, 0x1F, 0x7F, 0x80, 0xC3, 0xFF):
            data = USUAL[:at] + bytes([byte]) + USUAL[at + 1 :]
            assert at_once(data) in (None, outcome([data]))
