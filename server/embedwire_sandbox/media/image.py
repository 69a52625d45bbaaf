"""Image embedding: decodes PNG and JPEG, checks the limits, and computes visual features.

An image is used as it is displayed: rotated by its EXIF orientation, samples scaled to 8 bits, transparency on white.
The features are the colours by position, the brightness as a thumbnail, the orientation of edges, and a histogram of
colours.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, floor
from typing import Final

import numpy as np
from PIL import ExifTags, Image

from embedwire_sandbox.errors import MediaError
from embedwire_sandbox.media.depth import eight_bits
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.media.vectors import Array, Vector, block, project
from embedwire_sandbox.models import Model

FORMATS: Final = ("PNG", "JPEG")
# Exceptions of Pillow's decoders on broken files, by experience.
DECODING_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
_SIDE: Final = 64  # an image is reduced to 64 by 64 points
_DRAFT_SIDE: Final = 8 * _SIDE
_STRIPS: Final = 16
_TURNS: Final[dict[object, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATIONS: Final = 8
_HISTOGRAM_STEPS: Final = 4
_INVALID: Final = "Image file is not valid. It has to be a complete JPEG or PNG."
# The least bits of a sample in a PNG, by Pillow's mode; and the bytes that one byte of deflate expands to at most.
_PNG_BITS: Final = {"1": 1, "L": 1, "P": 1, "I;16": 16, "I": 16}
_DEFLATE_RATIO: Final = 1032


def image_vector(upload: Upload, model: Model, max_pixels: int) -> Vector:
    """Decode an image, check it against the model's limits, and return its vector.

    Blocks; call it in a thread.

    Raises:
        MediaError: The file is empty, too large, of another format, broken, or its image is too small or too large.
    """
    if not upload.size:
        raise MediaError("The image file is empty.")
    if upload.size > model.max_image_bytes:
        raise MediaError(f"The image file is larger than {model.max_image_bytes} bytes.")
    return project(_features(_points(upload, model.min_image_side, max_pixels)), model.dimensions)


def _points(upload: Upload, min_side: int, max_pixels: int) -> Array:
    """Return the image as 64 by 64 points of red, green and blue from 0 to 1."""
    upload.file.seek(0)
    try:
        with _quiet(), Image.open(upload.file, formats=FORMATS) as image:
            _check_size(image.width, image.height, min_side, max_pixels)
            if image.format == "PNG":
                _check_png(image, upload.size)
            # A JPEG is decoded at a fraction of its size, as far as that leaves enough points to average.
            image.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE))
            points = _small(eight_bits(image))
            turn = _TURNS.get(_orientation(image))
            return np.asarray(points if turn is None else points.transpose(turn), dtype=np.float64) / 255.0
    except DECODING_ERRORS:
        raise MediaError(_INVALID) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore Pillow's warnings, such as those of broken EXIF data: Python would write them between the log lines."""
    with warnings.catch_warnings():  # affects all threads; images are decoded in one
        warnings.simplefilter("ignore")
        yield


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation. Broken EXIF data are ignored, as in every viewer."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - the parser may raise anything on broken data
        return None


def _check_size(width: int, height: int, min_side: int, max_pixels: int) -> None:
    if min(width, height) < min_side:
        raise MediaError(f"The image is {width}x{height} pixels; it has to be at least {min_side}x{min_side}.")
    if width * height > max_pixels:
        raise MediaError(f"The image has {width * height} pixels; it may have at most {max_pixels}.")


def _check_png(image: Image.Image, size: int) -> None:
    """Reject a file that is too small for all of its samples, before Pillow allocates memory for them."""
    bits = image.width * image.height * len(image.getbands()) * _PNG_BITS.get(image.mode, 8)
    if bits > size * _DEFLATE_RATIO * 8:
        raise MediaError(_INVALID)


def _small(image: Image.Image) -> Image.Image:
    """Reduce the image to 64 by 64 points, in strips, so that only one strip is in memory twice."""
    points = Image.new("RGB", (_SIDE, _SIDE), "white")
    rows = _SIDE // _STRIPS
    for strip in range(_STRIPS):
        top, bottom = image.height * strip / _STRIPS, image.height * (strip + 1) / _STRIPS
        first = floor(top)
        part = image.crop((0, first, image.width, ceil(bottom)))
        part = part.convert("RGBA" if image.has_transparency_data else "RGB")
        box = (0, top - first, image.width, bottom - first)
        part = part.resize((_SIDE, rows), Image.Resampling.BOX, box)
        points.paste(part, (0, strip * rows), part if part.mode == "RGBA" else None)
    return points


def _features(points: Array) -> Array:
    light = points @ np.array([0.299, 0.587, 0.114])
    # A floor is about one grey level of difference, above the JPEG noise of a plain surface.
    return np.concatenate(
        [
            block(_means(points, 8) - points.mean(axis=(0, 1)), 1.0, floor=0.2),
            block(_means(light, 16) - light.mean(), 0.8, floor=0.3),
            block(_edges(light), 0.8, floor=0.5),
            block(_histogram(points), 0.7, floor=1e-9),
            block(points.mean(axis=(0, 1)) - 0.5, 0.5, floor=0.2),
        ]
    )


def _means(points: Array, cells: int) -> Array:
    size = _SIDE // cells
    shape = (cells, size, cells, size, *points.shape[2:])
    means: Array = points.reshape(shape).mean(axis=(1, 3))
    return means


def _edges(light: Array) -> Array:
    """Return histograms of oriented gradients in 4 by 4 cells."""
    down, across = np.gradient(light)
    strength = np.hypot(down, across)
    turn = np.mod(np.arctan2(down, across), np.pi) / np.pi * _ORIENTATIONS
    lower = np.floor(turn).astype(int) % _ORIENTATIONS
    share = turn - np.floor(turn)
    planes = np.zeros((*light.shape, _ORIENTATIONS))
    rows, columns = np.indices(light.shape)
    planes[rows, columns, lower] += strength * (1 - share)
    planes[rows, columns, (lower + 1) % _ORIENTATIONS] += strength * share
    return np.sqrt(_means(planes, 4))


def _histogram(points: Array) -> Array:
    """Return a colour histogram, linearly interpolated, so that features change smoothly with the colours."""
    position = points.reshape(-1, 3) * (_HISTOGRAM_STEPS - 1)
    centres = np.arange(_HISTOGRAM_STEPS)
    weights = np.clip(1 - np.abs(position[:, :, None] - centres), 0, None)
    counts = np.einsum("ni,nj,nk->ijk", weights[:, 0], weights[:, 1], weights[:, 2])
    frequencies: Array = np.sqrt(counts / len(position))
    return frequencies
