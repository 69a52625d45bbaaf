"""JSON bodies with a file as base64, read by the standard library."""

import base64
import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.http.json_body import PIECE_BYTES, Base64File, JsonBody


@dataclasses.dataclass(frozen=True)
class Chunked(InMemoryContent):
    """File that is read in chunks of the given sizes, over and over."""

    sizes: Sequence[int] = (1,)

    async def chunks(self) -> AsyncGenerator[bytes]:
        at, turn = 0, 0
        while at < len(self.data):
            size = self.sizes[turn % len(self.sizes)]
            yield self.data[at : at + size]
            at, turn = at + size, turn + 1


async def written(body: JsonBody) -> bytes:
    return b"".join([piece async for piece in body])


def with_file(data: bytes, sizes: Sequence[int] = (1 << 20,)) -> JsonBody:
    return JsonBody({"a": {"text": "é", "file": Base64File(Chunked(data, sizes), len(data))}, "b": [0.5, None]})


def expected(data: bytes) -> bytes:
    return f'{{"a":{{"text":"é","file":"{base64.b64encode(data).decode()}"}},"b":[0.5,null]}}'.encode()


@pytest.mark.parametrize("size", range(11))
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 100])
async def test_small_files(size: int, chunk: int) -> None:
    """Files of 0 to 10 bytes in chunks of any size are written as by the base64 module."""
    data = bytes(range(250, 250 + min(size, 6))) + b"x" * max(0, size - 6)
    body = with_file(data, (chunk,))
    assert await written(body) == expected(data)
    assert body.length == len(expected(data))


@given(st.binary(max_size=2000), st.lists(st.integers(1, 700), min_size=1, max_size=8))
async def test_any_file_in_any_chunks(data: bytes, sizes: list[int]) -> None:
    """The body does not depend on the chunks of the file, and can be read again from its start."""
    body = with_file(data, sizes)
    assert await written(body) == await written(body) == expected(data)
    assert body.length == len(expected(data))


@pytest.mark.parametrize("chunk", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 2, 36 << 20])
async def test_a_large_file_is_never_in_memory_as_a_whole(chunk: int) -> None:
    """The largest file is encoded in pieces of at most 256 KiB, whatever the chunks that it is read in."""
    data = bytes(range(256)) * (36 << 12) + b"xy"
    body = with_file(data, (chunk,))
    length, sample = 0, b""
    async for piece in body:
        assert len(piece) <= PIECE_BYTES * 4 // 3 + 100
        length += len(piece)
        sample = piece
    assert length == body.length
    assert sample.endswith(base64.b64encode(data[-2:]) + b'"},"b":[0.5,null]}')


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
async def test_without_a_file(value: object) -> None:
    """A body without a file is available as a whole, compact and without escapes of other scripts."""
    body = JsonBody({"é": value})
    assert body.inline == await written(body)
    assert body.length == len(body.inline)
    assert body.inline == json.dumps({"é": value}, ensure_ascii=False, separators=(",", ":")).encode()


def test_with_a_file() -> None:
    """A body with a file is not available as a whole."""
    assert with_file(b"x").inline is None


def test_two_files() -> None:
    """A second file, or a value that JSON does not have, is a mistake of the program."""
    file = Base64File(InMemoryContent(b"x"), 1)
    with pytest.raises(ValueError, match="one file"):
        JsonBody({"a": file, "b": file})
    with pytest.raises(TypeError, match="bytes"):
        JsonBody({"a": b"x"})


def test_private() -> None:
    """The content of a file is in no repr."""
    assert "secret" not in repr(Base64File(InMemoryContent(b"secret"), 6))
