"""Decodes WAV, FLAC and MP3, window by window.

The length in a header may be missing or false. No buffer is sized from it: samples are decoded in blocks of a fixed
size, and at most one window is kept in memory. A file without a usable length is decoded twice, first to count its
samples.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile

from embedwire_sandbox.errors import MediaError
from embedwire_sandbox.media.container import Stream, opened
from embedwire_sandbox.media.spectrum import Samples
from embedwire_sandbox.media.upload import Upload

_FORMATS: Final = frozenset({"WAV", "WAVEX", "FLAC", "MP3"})
_MAX_CHANNELS: Final = 8
_RATES: Final = range(4_000, 192_001)
_UNKNOWN_FRAMES: Final = 1 << 60  # libsndfile reports 2^63 - 1 for an unknown length
_BLOCK: Final = 1 << 14  # frames that are decoded at a time
_NOT_VALID: Final = "Audio file is not valid. It has to be a complete WAV, FLAC or MP3."

Check = Callable[[], None]


class _Sound(soundfile.SoundFile):  # type: ignore[misc]  # it ships no types
    """Audio file that is read sequentially.

    soundfile seeks after every read of a file that can seek. That fails in a FLAC file of unknown length, and after a
    seek in an MP3 file the decoder returns noise, since a frame depends on those before it.
    """

    def seekable(self) -> bool:
        return False


class Window(NamedTuple):
    """Section of a file, in seconds from its beginning."""

    start: float
    end: float


class Section(NamedTuple):
    """One window of a file with its samples, mono, from -1 to 1."""

    window: Window
    samples: Samples
    rate: int


Plan = Callable[[float], Iterable[Window]]


def sections(upload: Upload, plan: Plan, max_samples: int, check: Check = lambda: None) -> Generator[Section]:
    """Decode a file window by window.

    Every step blocks; run each in a thread. At most one window is in memory.

    Args:
        upload: The file.
        plan: Returns the windows for the duration in seconds, in ascending order; may raise.
        max_samples: Limit of decoded samples, all channels together.
        check: Called between two blocks; raises to stop the decoding.

    Raises:
        MediaError: The file is empty, of another format, broken or too long; possibly after some sections.
    """
    content = _content(upload, check)
    try:
        frames = _frames(content, max_samples, check)
        content.seek(0)
        with _Sound(content) as sound:
            cuts = plan(frames / sound.samplerate)
            yield from _sections(_Decoder(sound, max_samples, check), frames, cuts)
    except soundfile.SoundFileError:
        raise MediaError(_NOT_VALID) from None


class Format(NamedTuple):
    """Properties of an audio file: container as libsndfile names it, seconds, frames per second, channels."""

    container: str
    duration_sec: float
    rate: int
    channels: int


def audio_format(upload: Upload, max_samples: int, check: Check = lambda: None) -> Format:
    """Return the properties of an audio file. Blocks.

    Raises:
        MediaError: The file is empty, of another format, or broken.
    """
    content = _content(upload, check)
    try:
        frames = _frames(content, max_samples, check)
        content.seek(0)
        with _Sound(content) as sound:
            return Format(sound.format, frames / sound.samplerate, sound.samplerate, sound.channels)
    except soundfile.SoundFileError:
        raise MediaError(_NOT_VALID) from None


def _content(upload: Upload, check: Check) -> Stream:
    if not upload.size:
        raise MediaError("The audio file is empty.")
    content = opened(upload, check)
    if content is None:
        raise MediaError(_NOT_VALID)
    return content


def _frames(content: Any, max_samples: int, check: Check) -> int:  # noqa: ANN401
    """Return the number of frames by the header, or if it has none, by decoding."""
    with _Sound(content) as sound:
        _check_sound(sound)
        frames = int(sound.frames)
        if frames < _UNKNOWN_FRAMES:
            return frames
        decoder, frames = _Decoder(sound, max_samples, check), 0
        while count := len(decoder.read(_BLOCK)):
            frames += count
    if not frames:
        raise MediaError(_NOT_VALID)
    return frames


class _Decoder:
    """Decodes blocks of one file, up to a number of samples in total.

    Args:
        sound: The open file, at its start.
        max_samples: Limit of decoded samples, all channels together.
        check: Called before each block.

    Attributes:
        rate: Frames per second.
    """

    def __init__(self, sound: Any, max_samples: int, check: Check) -> None:  # noqa: ANN401
        self.rate: int = sound.samplerate
        self._sound = sound
        self._left = max_samples // sound.channels
        self._max_sec = self._left / self.rate
        self._check = check

    def read(self, frames: int) -> Samples:
        """Return up to this many frames, at most one block, mixed to one channel; none at the end.

        Raises:
            MediaError: The file is longer than permitted.
        """
        self._check()
        part = self._sound.read(min(_BLOCK, frames), dtype="float32", always_2d=True)
        self._left -= len(part)
        if self._left < 0:
            raise MediaError(f"The audio is too long: at most {self._max_sec:.0f} seconds of this file are decoded.")
        # A WAV of floats may contain any value, also NaN.
        mixed: Samples = np.clip(np.nan_to_num(part.mean(axis=1)), -1.0, 1.0)
        return mixed


def _sections(decoder: _Decoder, frames: int, cuts: Iterable[Window]) -> Iterator[Section]:
    rate = decoder.rate
    position = 0
    for cut in cuts:
        for _ in _blocks(decoder, round(cut.start * rate) - position):
            pass
        position, edge = round(cut.start * rate), min(round(cut.end * rate), frames)
        # A window without samples, at the very end of a file, counts as silence.
        samples = np.concatenate([*_blocks(decoder, edge - position)] or [np.zeros(1, dtype=np.float32)])
        position = edge
        yield Section(cut, samples, rate)


def _blocks(decoder: _Decoder, frames: int) -> Iterator[Samples]:
    """Decode exactly this many frames."""
    while frames > 0:
        part = decoder.read(frames)
        if not len(part):
            raise MediaError("Audio file is not valid. It ends before its declared length.")
        frames -= len(part)
        yield part


def _check_sound(sound: Any) -> None:  # noqa: ANN401
    if sound.format not in _FORMATS or sound.frames < 1:
        raise MediaError(_NOT_VALID)
    if sound.channels > _MAX_CHANNELS or sound.samplerate not in _RATES:
        raise MediaError("Audio file is not valid. It may have up to 8 channels at 4 to 192 kHz.")
