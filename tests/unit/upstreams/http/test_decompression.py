"""Content codings: valid forms, rejection of invalid ones, and bounded steps."""

import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies

from embedwire_server.upstreams.http.decompression import STEP_BYTES, DecompressionError, Decompressor

TEXT = b'{"model_name": "marengo3.0", "numbers": [' + b"0.5, " * 2000 + b"1]}"


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def decompressed(coding: str, body: bytes, size: int = 1 << 20) -> bytes:
    decompressor, found = Decompressor(coding), b""
    for start in range(0, len(body), size):
        decompressor.feed(body[start : start + size])
        while not decompressor.needs_input:
            piece = decompressor.step()
            assert len(piece) <= max(STEP_BYTES, size)
            found += piece
    decompressor.finish()
    return found


ZIPPED = gzip.compress(TEXT)
GOOD = {
    "gzip": ("gzip", ZIPPED),
    "upper-case": ("GZIP", ZIPPED),
    "spaces": ("  gzip\t", ZIPPED),
    "x-gzip": ("X-GZip", ZIPPED),
    "identity-and-gzip": ("identity, gzip", ZIPPED),
    "gzip-and-nothing": ("gzip, ", ZIPPED),
    "two-members": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "empty-members": ("gzip", gzip.compress(b"") * 50 + ZIPPED + gzip.compress(b"")),
    "padding": ("gzip", ZIPPED + b"\0" * 1000),
    "padding-between-members": ("gzip", gzip.compress(TEXT[:100]) + b"\0" * 9 + gzip.compress(TEXT[100:])),
    "garbage-behind": ("gzip", ZIPPED + b"garbage"),
    "one-byte-behind": ("gzip", ZIPPED + b"\x1f"),
    "name-in-its-header": ("gzip", b"\x1f\x8b\x08\x08" + bytes(6) + b"name\0" + ZIPPED[10:]),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate-stored": ("deflate", zlib.compress(TEXT, 0)),
    "deflate-best": ("Deflate", zlib.compress(TEXT, 9)),
    "deflate-raw": ("deflate", raw(TEXT)),
    "deflate-garbage-behind": ("deflate", zlib.compress(TEXT) + b"garbage"),
    "identity": ("identity", TEXT),
    "identities": ("Identity, ,identity", TEXT),
    "nothing": (" ", TEXT),
    "twice": ("gzip, gzip", gzip.compress(ZIPPED)),
    "two-codings": ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    "three-codings": ("gzip,Deflate , identity, x-gzip", gzip.compress(raw(ZIPPED))),
    "charset": ("utf-8", TEXT),
    "none": ("none", TEXT),
    "unknown-and-gzip": ("aws-chunked, gzip", ZIPPED),
}


@pytest.mark.parametrize(("coding", "body"), GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("size", [1 << 20, 100, 1])
def test_legal_forms(coding: str, body: bytes, size: int) -> None:
    """Each valid form is decompressed, however its bytes are split."""
    assert decompressed(coding, body, size) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
def test_empty_body(coding: str) -> None:
    """An empty body decompresses to nothing."""
    assert decompressed(coding, b"") == b""


BAD = {
    "plain": ("gzip", TEXT, "not in its content coding gzip"),
    "plain-deflate": ("deflate", TEXT, "not in its content coding deflate"),
    "wrong-coding": ("gzip", zlib.compress(TEXT), "not in its content coding gzip"),
    "cut": ("gzip", ZIPPED[:-20], "gzip ends too early"),
    "cut-in-the-trailer": ("gzip", ZIPPED[:-1], "gzip ends too early"),
    "cut-in-the-header": ("gzip", ZIPPED[:5], "gzip ends too early"),
    "cut-after-a-byte": ("gzip", ZIPPED[:1], "gzip ends too early"),
    "cut-deflate": ("deflate", zlib.compress(TEXT)[:-2], "deflate ends too early"),
    "cut-in-the-second-member": ("gzip", ZIPPED + ZIPPED[:-9], "gzip ends too early"),
    "wrong-checksum": ("gzip", ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "not in its content coding gzip"),
    "wrong-size": ("gzip", ZIPPED[:-4] + bytes(4), "not in its content coding gzip"),
    "brotli": ("br", b"x", "content coding br is not supported"),
    "zstd": ("identity, ZStd", b"x", "content coding zstd is not supported"),
    "compress": ("compress", b"x", "content coding compress is not supported"),
    "brotli-and-gzip": ("br, gzip", ZIPPED, "content coding br is not supported"),
    "inner-cut": ("gzip, gzip", gzip.compress(ZIPPED[:-9]), "gzip ends too early"),
    "outer-cut": ("gzip, deflate", zlib.compress(ZIPPED)[:-9], "deflate ends too early"),
    "many-times": (", ".join(["gzip"] * 5), b"x", "compressed more than 4 times"),
}


@pytest.mark.parametrize(("coding", "body", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("size", [1 << 20, 1])
def test_invalid_content(coding: str, body: bytes, words: str, size: int) -> None:
    """An invalid body is rejected with an error that names the coding and the fault."""
    with pytest.raises(DecompressionError, match=words):
        decompressed(coding, body, size)


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        pytest.param("gzip", gzip.compress, id="gzip"),
        pytest.param("deflate", zlib.compress, id="deflate"),
        pytest.param("deflate, gzip", lambda data: gzip.compress(zlib.compress(data)), id="deflate-and-gzip"),
    ],
)
def test_memory_is_bounded(coding: str, compress: Callable[[bytes], bytes]) -> None:
    """Of a body that expands a thousandfold, only a few steps are in memory at a time."""
    body = compress(bytes(64 << 20))
    decompressor, total = Decompressor(coding), 0
    tracemalloc.start()
    try:
        for start in range(0, len(body), 16 << 10):
            decompressor.feed(body[start : start + (16 << 10)])
            while not decompressor.needs_input:
                total += len(decompressor.step())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 8 * STEP_BYTES


@hypothesis.given(strategies.binary(max_size=300), strategies.sampled_from(["gzip", "deflate"]))
def test_any_bytes(body: bytes, coding: str) -> None:
    """Arbitrary bytes are decompressed or rejected."""
    with contextlib.suppress(DecompressionError):
        decompressed(coding, body, 7)
