"""Small media files for tests, made by real encoders."""

import functools
import io

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
Samples = NDArray[np.float32]


def tone(seconds: float, hertz: float = 440.0, rate: int = 16000) -> Samples:
    """A sine of that length, as mono samples from -0.5 to 0.5."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def sound(samples: Samples, container: str = "FLAC", rate: int = 16000) -> bytes:
    """Encode samples as `WAV`, `FLAC` or `MP3`."""
    out = io.BytesIO()
    subtype = "MPEG_LAYER_III" if container == "MP3" else "PCM_16"
    soundfile.write(out, samples, rate, format=container, subtype=subtype)
    return out.getvalue()


@functools.cache
def wav(seconds: float, hertz: float = 440.0, rate: int = 16000) -> bytes:
    return sound(tone(seconds, hertz, rate), "WAV", rate)


@functools.cache
def flac(seconds: float, hertz: float = 440.0, rate: int = 16000) -> bytes:
    return sound(tone(seconds, hertz, rate), "FLAC", rate)


@functools.cache
def mp3(seconds: float, hertz: float = 440.0, rate: int = 16000) -> bytes:
    return sound(tone(seconds, hertz, rate), "MP3", rate)


@functools.cache
def padded_wav(size: int, seconds: float = 7.0) -> bytes:
    """A WAV file of this size with little sound: the rest is a chunk that decoders skip."""
    sound = bytearray(wav(seconds))
    room = size - len(sound) - 8
    sound[4:8] = (size - 8).to_bytes(4, "little")
    return bytes(sound) + b"JUNK" + room.to_bytes(4, "little") + bytes(room)


@functools.cache
def png(width: int = 256, height: int = 256, color: Colour = (200, 60, 20)) -> bytes:
    return picture(Image.new("RGB", (width, height), color), "PNG")


@functools.cache
def jpeg(width: int = 256, height: int = 256, color: Colour = (200, 60, 20)) -> bytes:
    return picture(Image.new("RGB", (width, height), color), "JPEG")


def picture(image: Image.Image, container: str) -> bytes:
    """Encode a picture as `PNG` or `JPEG`."""
    out = io.BytesIO()
    image.save(out, container)
    return out.getvalue()


class Pipe(io.RawIOBase):
    """A stream that is not seekable, so the SDK sends it in chunks."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)
