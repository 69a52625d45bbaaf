"""A server on the sandbox stays small and serves other calls, whatever sizes the headers of media files claim."""

import asyncio
import functools
import io
import resource
import struct
import zlib
from collections.abc import Callable

import grpc
import pytest
from PIL import Image

from embedwire.v1 import embedding_pb2 as pb
from tests.support.media import flac, mp3, wav
from tests.support.messages import file_input, request, text_input
from tests.support.process import ServerProcess

MOST_GROWTH = 60 << 20
ADDRESS_SPACE = 6 << 30


def flac_of(samples: int) -> bytes:
    content = flac(2)
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


def mp3_of(frames: int) -> bytes:
    content = mp3(2)
    at = content.index(b"Xing") + 8
    return content[:at] + struct.pack(">I", frames) + content[at + 4 :]


def wav_of(size: int) -> bytes:
    content = wav(2)
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


@functools.cache
def bomb() -> bytes:
    """The content of a PNG chunk that decompresses to 200 MB."""
    return b"a\0\0" + zlib.compress(bytes(200 << 20))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 6) -> bytes:
    """A PNG with a false size in its header and the pixels of a small one; by default of 8-bit RGBA."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (256, 256)).save(out, "JPEG")
    content = bytearray(out.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


AUDIO: dict[str, Callable[[], bytes]] = {
    "FLAC of unknown length": lambda: flac_of(0),
    "FLAC of 2^36 - 1 samples": lambda: flac_of((1 << 36) - 1),
    "FLAC of 2^35 samples": lambda: flac_of(1 << 35),
    "WAV of 4 GiB": lambda: wav_of(0xFFFFFFFF),
    "WAV of nothing": lambda: wav_of(0),
    "MP3 of 2^32 - 1 frames": lambda: mp3_of(0xFFFFFFFF),
    "MP3 of no frames": lambda: mp3_of(0),
}
IMAGES: dict[str, Callable[[], bytes]] = {
    "PNG of 2^31 - 1 points a side": lambda: png_of((1 << 31) - 1, (1 << 31) - 1),
    "PNG of 7000 points a side": lambda: png_of(7000, 7000),
    "PNG of 7000 points a side, 16-bit grey": lambda: png_of(7000, 7000, bits=16, colour=0),
    "PNG of 7000 points a side, 16-bit colour": lambda: png_of(7000, 7000, bits=16, colour=2),
    "PNG of 7000 points a side, palette": lambda: png_of(7000, 7000, colour=3),
    "PNG with a text of 200 MB": lambda: png_of(200, 200, chunk(b"zTXt", bomb())),
    "PNG with a profile of 200 MB": lambda: png_of(200, 200, chunk(b"iCCP", bomb())),
    "JPEG of 65535 points a side": lambda: jpeg_of(65_535, 65_535),
    "JPEG of 7000 points a side": lambda: jpeg_of(7_000, 7_000),
}


@pytest.mark.parametrize("model", ["marengo3.0", "Marengo-retrieval-2.7"])
async def test_false_headers_take_no_memory(model: str) -> None:
    """Files with false headers, 8 of each concurrently, end soon, in little memory, and other calls are answered."""
    async with ServerProcess.running() as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        await call(server, text_input("a"), model)
        await call(server, file_input("audio", flac(2)), model)
        before = server.peak_memory()
        for kind, files in (("audio", AUDIO), ("image", IMAGES)):
            for name, make in files.items():
                item = file_input(kind, make())
                codes = await asyncio.gather(*[call(server, item, model) for _ in range(8)])
                assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, name
                assert server.peak_memory() - before < MOST_GROWTH, name
        assert await call(server, text_input("a"), model) == grpc.StatusCode.OK


async def call(server: ServerProcess, item: pb.Input, model: str) -> grpc.StatusCode:
    asked = server.stub.CreateEmbedding(request(item, model=model), timeout=60)
    try:
        async for _ in asked:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
