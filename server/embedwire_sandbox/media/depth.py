"""Scales PNG samples of other depths to 8 bits, where Pillow does not.

- 16-bit grey keeps its 16 bits, and a conversion clips at 255 instead of scaling: nearly all becomes white.
- The colour that a `tRNS` chunk makes transparent keeps the depth of the file, while the pixels are scaled to 8 bits.
"""

from typing import Any, Final

import numpy as np
from PIL import Image

_KEY: Final = "transparency"


def eight_bits(image: Image.Image) -> Image.Image:
    """Return the decoded image, with all samples and its transparent colour from 0 to 255."""
    layout = _layout(image)  # of the file; lost by decoding
    image.load()
    if image.mode.startswith("I"):
        return _grey(image)
    key, depth = image.info.get(_KEY), layout.partition(";")[2]
    if isinstance(key, tuple) and depth == "16B":
        image.info[_KEY] = tuple(sample >> 8 for sample in key)
    elif isinstance(key, int) and image.mode == "L" and depth in {"2", "4"}:
        image.info[_KEY] = key * 255 // ((1 << int(depth)) - 1)
    return image


def _layout(image: Image.Image) -> str:
    """Return Pillow's name of the sample layout of the file, such as `L;4` or `RGB;16B`."""
    tiles: list[Any] = getattr(image, "tile", [])
    return tiles[0][3] if tiles and isinstance(tiles[0][3], str) else ""


def _grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey. Its transparent value becomes an alpha channel, since others share the upper 8 bits."""
    samples, key = np.asarray(image), image.info.get(_KEY)
    grey = Image.fromarray((samples >> 8).astype(np.uint8))
    if not isinstance(key, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8))))
