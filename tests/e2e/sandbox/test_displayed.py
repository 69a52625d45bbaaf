"""Images are embedded as they are displayed: rotated by EXIF, and with samples of any depth."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embedwire_sandbox.errors import MediaError
from embedwire_sandbox.media.vectors import Vector
from tests.e2e.sandbox.test_image import scene, vector
from tests.support.media import picture

Pixels = np.ndarray[Any, np.dtype[Any]]

# The rotation by a viewer, by the orientation in the EXIF data.
ROTATIONS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.transpose(stored, (1, 0, 2)),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(np.transpose(stored, (1, 0, 2)), 2),
    8: np.rot90,
}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(samples: Pixels, depth: int, kind: int, *extra: bytes) -> bytes:
    """A PNG of these samples, rows by columns (by channels), each of that many bits."""
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = (flat[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def ramp(levels: int) -> Pixels:
    """A picture of 200 by 160 pixels in that many grey levels, brighter to the lower right."""
    rows, columns = np.indices((160, 200))
    return ((rows + columns) * levels // 360).astype(int)


def grey(values: Pixels) -> Vector:
    """The vector of a plain 8-bit picture."""
    return vector(picture(Image.fromarray(values.astype(np.uint8)), "PNG"))


@pytest.mark.parametrize("container", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [*ROTATIONS])
def test_orientation(orientation: int, container: str) -> None:
    """A picture rotated by its EXIF data has the vector of the rotated picture."""
    stored = scene(1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored.save(out, container, exif=exif, **({"quality": 95} if container == "JPEG" else {}))
    shown = Image.fromarray(np.ascontiguousarray(ROTATIONS[orientation](np.asarray(stored))))

    assert vector(out.getvalue()) @ vector(picture(shown, "PNG")) > 0.995
    if orientation > 1:
        assert vector(out.getvalue()) @ vector(picture(stored, "PNG")) < 0.9


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 99])
def test_broken_exif(exif: bytes) -> None:
    """Malformed EXIF data do not rotate the picture, and are no error."""
    out = io.BytesIO()
    scene(1).save(out, "JPEG", exif=exif)
    assert vector(out.getvalue()) @ vector(picture(scene(1), "PNG")) > 0.99


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_out_of_range(value: int) -> None:
    """An invalid orientation leaves the picture as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = value
    out = io.BytesIO()
    scene(1).save(out, "PNG", exif=exif)
    assert vector(out.getvalue()) @ vector(picture(scene(1), "PNG")) > 0.9999


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_depths(depth: int) -> None:
    """Grey of any depth has the vector of the same picture in 8 bits."""
    levels = ramp(1 << depth)
    same = levels * 255 // ((1 << depth) - 1)
    assert vector(raw_png(levels, depth, 0)) @ grey(same) > 0.999


def test_colour_of_16_bits() -> None:
    """16-bit colour has the vector of the same picture in 8 bits."""
    samples = np.asarray(scene(1)).astype(int)
    assert vector(raw_png(samples * 257, 16, 2)) @ vector(picture(scene(1), "PNG")) > 0.9999


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes(depth: int) -> None:
    """A palette of any depth has the vector of the picture in its colours."""
    colours = np.random.RandomState(3).randint(0, 256, (1 << depth, 3)).astype(np.uint8)
    indices = ramp(1 << depth)
    encoded = raw_png(indices, depth, 3, chunk(b"PLTE", colours.tobytes()))
    assert vector(encoded) @ vector(picture(Image.fromarray(colours[indices]), "PNG")) > 0.9999


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey(depth: int) -> None:
    """The transparent grey value counts as white, at any depth; adjacent values do not."""
    most = (1 << depth) - 1
    levels = np.where(np.indices((160, 200))[1] < 100, 0, most)
    assert vector(raw_png(levels, depth, 0, chunk(b"tRNS", struct.pack(">H", 0)))) @ grey(levels * 0 + 255) > 0.999
    beside = levels // 2 if depth == 1 else np.where(levels == 0, 1, most)
    if depth in {2, 4}:
        transparent = raw_png(beside, depth, 0, chunk(b"tRNS", struct.pack(">H", 1)))
        assert vector(transparent) @ grey(levels * 0 + 255) > 0.999
    opaque = vector(raw_png(levels, depth, 0, chunk(b"tRNS", struct.pack(">H", most))))
    assert opaque @ grey(levels * 255 // most) > 0.99


def test_transparent_colour_of_16_bits() -> None:
    """The transparent 16-bit colour counts as white."""
    samples = np.full((160, 200, 3), [300, 40000, 511])
    samples[:, 100:] = [65535, 0, 0]
    encoded = raw_png(samples, 16, 2, chunk(b"tRNS", struct.pack(">3H", 300, 40000, 511)))
    shown = np.full((160, 200, 3), 255, dtype=np.uint8)
    shown[:, 100:] = [255, 0, 0]
    assert vector(encoded) @ vector(picture(Image.fromarray(shown), "PNG")) > 0.999


def test_transparent_palette() -> None:
    """A palette with transparency has the vector of the picture on white."""
    colours, alpha = bytes([255, 0, 0, 0, 0, 255]), b"\0\xff"
    indices = np.where(np.indices((160, 200))[1] < 100, 0, 1)
    encoded = raw_png(indices, 8, 3, chunk(b"PLTE", colours), chunk(b"tRNS", alpha))
    shown = np.full((160, 200, 3), 255, dtype=np.uint8)
    shown[:, 100:] = [0, 0, 255]
    assert vector(encoded) @ vector(picture(Image.fromarray(shown), "PNG")) > 0.9999


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_half_transparent(mode: str) -> None:
    """Half-transparent pixels are blended with white."""
    image = Image.new("L", (200, 160), 0)
    ImageDraw.Draw(image).ellipse((20, 20, 120, 140), fill=200)
    faint = image.convert(mode)
    faint.putalpha(128)
    mixed = (np.asarray(image) * (128 / 255) + 255 * (127 / 255)).round()
    assert vector(picture(faint, "PNG")) @ grey(mixed) > 0.999


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L"])
def test_jpeg_of_other_colours(mode: str) -> None:
    """A JPEG in CMYK or grey has the vector of the picture that it shows."""
    image = scene(1).convert(mode)
    assert vector(picture(image, "JPEG")) @ vector(picture(image.convert("RGB"), "PNG")) > 0.99


def test_large_jpeg() -> None:
    """A JPEG that is decoded at reduced size has the vector of the same picture, small."""
    large = scene(1).resize((4000, 3000))
    assert vector(picture(large, "JPEG"), 12_000_000) @ vector(picture(scene(1), "PNG")) > 0.99


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"])
def test_chunk_that_decompresses_to_much(name: bytes) -> None:
    """A text or colour profile of 200 MB, compressed to 200 KB, is refused or ignored, not unpacked completely."""
    bomb = zlib.compress(bytes(200 << 20), 9)
    encoded = raw_png(ramp(256), 8, 0, chunk(name, b"a\0\0" + bomb))
    tracemalloc.start()
    with contextlib.suppress(MediaError):
        assert vector(encoded) @ grey(ramp(256)) > 0.999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20
