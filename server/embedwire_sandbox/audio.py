"""Audio embedding: decodes WAV, FLAC and MP3, and computes segments window by window.

Windows are those of the upstream API notes, section 6. The `transcription` segments of Marengo 3.0 are made of the
changes of loudness; nothing here recognises speech.

The length in a header may be missing or false. No buffer is sized from it: samples are decoded in blocks of a fixed
size, and at most one window is kept in memory. A file without a usable length is decoded twice, first to count its
samples.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile

from embedwire_sandbox.container import opened
from embedwire_sandbox.errors import MediaError, invalid
from embedwire_sandbox.form import Upload
from embedwire_sandbox.models import Model
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.result import Segment
from embedwire_sandbox.spectrum import Samples, rhythm, timbre
from embedwire_sandbox.vectors import project

_FORMATS: Final = frozenset({"WAV", "WAVEX", "FLAC", "MP3"})
_MAX_CHANNELS: Final = 8
_RATES: Final = range(4_000, 192_001)
_UNKNOWN_FRAMES: Final = 1 << 60  # libsndfile reports 2^63 - 1 for an unknown length
_BLOCK: Final = 1 << 14  # frames that are decoded at a time
_DIGITS: Final = 6  # offsets are written to the microsecond
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


def windows(model: Model, start: float, end: float) -> Iterator[Window]:
    """Split the section from `start` to `end` into windows as the model does.

    `fixed`: windows of the model's length; the last may be shorter. `even`: equal windows, of the length nearest to the
    model's.
    """
    if model.segmentation == "fixed":
        count, length = int(np.ceil(round((end - start) / model.window_sec, 9))), model.window_sec
    else:
        count = _even_count(end - start, model.window_sec)
        length = (end - start) / count
    for index in range(count):
        right = start + length * (index + 1) if index + 1 < count else end
        yield Window(round(start + length * index, _DIGITS), round(right, _DIGITS))


def audio_segments(
    upload: Upload, model: Model, start: float, options: SandboxOptions, check: Check = lambda: None
) -> Generator[Segment, None, None]:
    """Decode a file window by window and yield the segments of each.

    Every step blocks; run each in a thread. At most one window is in memory.

    Args:
        upload: The file.
        model: The model.
        start: Where to begin, in seconds.
        options: The options.
        check: Called between two blocks; raises to stop the decoding.

    Raises:
        MediaError: The file is empty, of another format, broken or too long; possibly after some segments.
        RefusalError: The start lies at or beyond the end of the file.
    """
    if not upload.size:
        raise MediaError("The audio file is empty.")
    content = opened(upload, check)
    if content is None:
        raise MediaError(_NOT_VALID)
    try:
        frames = _frames(content, options.max_audio_samples, check)
        content.seek(0)
        with _Sound(content) as sound:
            duration = frames / sound.samplerate
            if start >= duration:
                raise invalid("audio_start_offset_sec", f"It has to be less than the duration, {duration:.3f} seconds.")
            decoder = _Decoder(sound, options.max_audio_samples, check)
            yield from _segments(decoder, frames, model, windows(model, start, duration), options)
    except soundfile.SoundFileError:
        raise MediaError(_NOT_VALID) from None


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


def _segments(
    decoder: _Decoder, frames: int, model: Model, cuts: Iterator[Window], options: SandboxOptions
) -> Iterator[Segment]:
    rate, newer = decoder.rate, model.segmentation == "fixed"
    position = 0
    for cut in cuts:
        for _ in _blocks(decoder, round(cut.start * rate) - position):
            pass
        position, edge = round(cut.start * rate), min(round(cut.end * rate), frames)
        # A window without samples, at the very end of a file, counts as silence.
        samples = np.concatenate([*_blocks(decoder, edge - position)] or [np.zeros(1, dtype=np.float32)])
        position = edge
        end = cut.end if newer and options.end_offsets else None
        option = "audio" if newer else None
        yield Segment(project(timbre(samples, rate), model.dimensions), cut.start, end, option)
        if newer and options.paired_options:
            yield Segment(project(rhythm(samples, rate), model.dimensions), cut.start, end, "transcription")


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


def _even_count(length: float, aim: float) -> int:
    fewer = max(1, int(length // aim))
    return min(fewer, fewer + 1, key=lambda count: abs(length / count - aim))
