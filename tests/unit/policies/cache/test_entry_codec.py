"""Entries as bytes: exact, and rejected after any change."""

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.policies.cache import entry_codec
from embedwire_server.policies.cache.entry import CachedSegment, Entry
from embedwire_server.policies.cache.entry_codec import InvalidEntryError
from tests.unit.policies.cache.support import entry

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
SECONDS = st.none() | st.floats(allow_nan=False)
SEGMENTS = st.builds(
    CachedSegment,
    st.binary(max_size=40),
    SECONDS,
    SECONDS,
    st.text(max_size=10),
    st.text(max_size=10),
    st.none() | st.binary(max_size=40),
)
ENTRIES = st.builds(
    Entry,
    st.lists(SEGMENTS, min_size=1, max_size=4).map(tuple),
    st.text(max_size=10),
    st.text(max_size=10),
    st.booleans(),
    st.none() | st.booleans(),
    SECONDS,
    st.none() | st.lists(st.tuples(st.text(max_size=10), st.integers(0, 1 << 60)), max_size=3).map(tuple),
)


def is_rejected(key: bytes, data: bytes) -> bool:
    try:
        entry_codec.decode(key, data)
    except InvalidEntryError:
        return True
    return False


def signed(content: bytes) -> bytes:
    """Content with a valid checksum."""
    return content + hashlib.sha256(content).digest()


@given(ENTRIES)
def test_exact(made: Entry) -> None:
    """An entry is the same after encoding and decoding: every byte of a vector, every float, None and empty."""
    found = entry_codec.decode(KEY, entry_codec.encode(KEY, made))
    assert found == made
    assert all(type(segment) is CachedSegment for segment in found.segments)
    assert hash(found) == hash(made)  # immutable, down to the pairs of tokens


@given(ENTRIES, st.data())
def test_any_change_is_detected(made: Entry, data: st.DataObject) -> None:
    """Each flipped bit, each truncation, and bytes before, between or after are rejected."""
    encoded = entry_codec.encode(KEY, made)
    at = data.draw(st.integers(0, len(encoded) - 1))
    flipped = bytes([encoded[at] ^ 1 << data.draw(st.integers(0, 7))])
    added = data.draw(st.binary(min_size=1, max_size=10))
    assert is_rejected(KEY, encoded[:at] + flipped + encoded[at + 1 :])
    assert is_rejected(KEY, encoded[:at])
    assert is_rejected(KEY, encoded[at + 1 :])
    assert is_rejected(KEY, encoded + added)
    assert is_rejected(KEY, added + encoded)


def test_every_byte() -> None:
    """Each single byte of an entry matters, and so does its end."""
    encoded = entry_codec.encode(KEY, entry())
    for at in range(len(encoded)):
        assert is_rejected(KEY, encoded[:at])
        assert is_rejected(KEY, encoded[:at] + bytes([encoded[at] ^ 0x40]) + encoded[at + 1 :])


@given(ENTRIES, ENTRIES)
def test_swapped_entries(first: Entry, second: Entry) -> None:
    """The entry of another key is rejected, also if it is equal."""
    assert is_rejected(KEY, entry_codec.encode(OTHER_KEY, first))
    assert is_rejected(OTHER_KEY, entry_codec.encode(KEY, second))


@given(st.binary(max_size=200))
def test_foreign_bytes(data: bytes) -> None:
    """Other bytes are rejected, also with a valid checksum, the version and the key."""
    assert is_rejected(KEY, data)
    assert is_rejected(KEY, signed(data))
    assert is_rejected(KEY, signed(b"\x01" + KEY + data))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version(version: int) -> None:
    """An entry of another version is rejected, although its checksum is valid."""
    encoded = entry_codec.encode(KEY, entry())
    assert is_rejected(KEY, signed(bytes([version]) + encoded[1:-32]))
    assert not is_rejected(KEY, signed(encoded[:-32]))


def test_special_floats() -> None:
    """Infinite and NaN durations of an upstream survive."""
    made = entry()._replace(media_duration_sec=math.inf)
    assert entry_codec.decode(KEY, entry_codec.encode(KEY, made)) == made
    unknown = entry_codec.decode(KEY, entry_codec.encode(KEY, made._replace(media_duration_sec=math.nan)))
    assert math.isnan(unknown.media_duration_sec or 0.0)


def test_no_content_of_callers() -> None:
    """The fields of an entry are those listed here: neither key, text, URL nor file name of a caller."""
    assert Entry._fields == (
        "segments",
        "upstream",
        "model_name",
        "has_origin",
        "truncated",
        "media_duration_sec",
        "input_tokens",
    )
