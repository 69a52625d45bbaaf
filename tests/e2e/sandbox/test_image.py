"""Images: limits and vectors."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embedwire_sandbox.errors import MediaError
from embedwire_sandbox.media.image import image_vector
from embedwire_sandbox.media.upload import Upload, spool
from embedwire_sandbox.media.vectors import Vector
from embedwire_sandbox.models import MARENGO_27, MARENGO_30
from tests.support.media import picture, png


@contextmanager
def upload(content: bytes) -> Iterator[Upload]:
    with spool() as file:
        file.write(content)
        yield Upload(file, len(content))


def vector(content: bytes, max_pixels: int = 10_000_000) -> Vector:
    with upload(content) as given:
        return image_vector(given, MARENGO_30, max_pixels)


def scene(seed: int) -> Image.Image:
    random = np.random.RandomState(seed)
    image = Image.new("RGB", (400, 300), "navy")
    draw = ImageDraw.Draw(image)
    for left, top, size, *colour in random.randint(0, 255, (12, 6)).tolist():
        draw.ellipse((left, top, left + size, top + size), fill=tuple(colour))
    return image


def test_near() -> None:
    """A picture is near itself as a JPEG, smaller, and with slight noise."""
    image = scene(1)
    original = vector(picture(image, "PNG"))
    noise = np.random.RandomState(0).randint(-3, 4, (300, 400, 3))
    noisy = Image.fromarray(np.clip(np.asarray(image).astype(int) + noise, 0, 255).astype(np.uint8))

    assert original @ vector(picture(image, "JPEG")) > 0.99
    assert original @ vector(picture(image.resize((200, 150)), "PNG")) > 0.99
    assert original @ vector(picture(noisy, "PNG")) > 0.98


def test_far() -> None:
    """Another picture is far, and further than the same one in grey."""
    image = scene(1)
    original = vector(picture(image, "PNG"))
    other = original @ vector(picture(scene(2), "PNG"))

    assert other < 0.6
    assert other < original @ vector(picture(image.convert("L"), "PNG"))


def test_plain_colours() -> None:
    """A picture of one colour has a unit vector; two near colours are near, two different ones are not."""
    red, dark_red, blue, grey = [
        vector(png(color=color)) for color in ((255, 0, 0), (250, 0, 0), (0, 0, 255), (128, 128, 128))
    ]

    assert pytest.approx([float(np.linalg.norm(each)) for each in (red, dark_red, blue, grey)]) == [1, 1, 1, 1]
    assert red @ dark_red > 0.95
    assert max(red @ blue, red @ grey, blue @ grey) < 0.3


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_modes(mode: str) -> None:
    """Every colour mode of the two formats is decoded; transparent pixels count as white."""
    image = Image.new("I;16", (200, 200)) if mode == "I;16" else scene(1).convert(mode)
    encoded = picture(image, "JPEG" if mode == "CMYK" else "PNG")

    assert np.linalg.norm(vector(encoded)) == pytest.approx(1, abs=1e-6)


def test_transparent() -> None:
    """A fully transparent picture counts as white, whatever colour its pixels have."""
    hidden = vector(picture(Image.new("RGBA", (200, 200), (255, 0, 0, 0)), "PNG"))

    assert hidden @ vector(png(color=(255, 255, 255))) > 0.999


def test_smallest() -> None:
    """The minimum side of each model is accepted, one pixel less is not."""
    for model in (MARENGO_27, MARENGO_30):
        side = model.min_image_side
        with upload(png(side, side)) as given:
            assert len(image_vector(given, model, 10_000_000)) == model.dimensions
        with upload(png(side, side - 1)) as given, pytest.raises(MediaError):
            image_vector(given, model, 10_000_000)


def test_bombs() -> None:
    """A picture with too many pixels is refused before it is decoded, by the sandbox's limit and by Pillow's."""
    with pytest.raises(MediaError, match="at most 90000"):
        vector(png(301, 300), max_pixels=90_000)
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with pytest.raises(MediaError):
        vector(bomb.getvalue())


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_most_compressed(mode: str) -> None:
    """A complete PNG is decoded, however small its file is: 4,000 points of one colour a side."""
    out = io.BytesIO()
    Image.new(mode, (4000, 4000)).save(out, "PNG", compress_level=9)

    assert vector(out.getvalue(), max_pixels=16_000_000).shape == (512,)
