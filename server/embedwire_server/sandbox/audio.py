"""Sound: decoding WAV, FLAC and MP3, cutting it into windows, and one segment after another.

Windows are those of the upstream API notes, section 6. The `transcription` segments of Marengo 3.0 are made of the
movement of the loudness; nothing here recognises speech. The length of an MP3 is what its tag says, or what its
first bitrate suggests: libsndfile misjudges one of variable bitrate that has no tag.
"""

from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile

from embedwire_server.sandbox.errors import MediaError, invalid
from embedwire_server.sandbox.form import Spool, Upload
from embedwire_server.sandbox.models import Model
from embedwire_server.sandbox.options import SandboxOptions
from embedwire_server.sandbox.result import Segment
from embedwire_server.sandbox.spectrum import Samples, rhythm, timbre
from embedwire_server.sandbox.vectors import project

_FORMATS: Final = frozenset({"WAV", "WAVEX", "FLAC", "MP3"})
_HEAD_BYTES: Final = 12
_MAX_CHANNELS: Final = 8
_RATES: Final = range(4_000, 192_001)
_DIGITS: Final = 6  # offsets are written to the microsecond
_NOT_VALID: Final = "Audio file is not valid. It has to be a complete WAV, FLAC or MP3."


class _Sound(soundfile.SoundFile):  # type: ignore[misc]  # it ships no types
    """A sound file that does not seek in an MP3.

    soundfile seeks after every read. But an MP3 frame needs those before it: after a seek, the decoder gives noise.
    """

    def seekable(self) -> bool:
        return bool(self.format != "MP3" and super().seekable())


class Window(NamedTuple):
    """A stretch of a file, in seconds from its beginning."""

    start: float
    end: float


def windows(model: Model, start: float, end: float) -> list[Window]:
    """Cut the stretch from `start` to `end` as the model does.

    `fixed`: windows of the model's length; the last is what remains. `even`: as many equal windows as bring their
    length nearest to the model's.
    """
    if model.segmentation == "fixed":
        count = int(np.ceil(round((end - start) / model.window_sec, 9)))
        edges = [start + model.window_sec * index for index in range(count)] + [end]
    else:
        count = _even_count(end - start, model.window_sec)
        edges = [start + (end - start) * index / count for index in range(count)] + [end]
    return [Window(round(left, _DIGITS), round(right, _DIGITS)) for left, right in pairwise(edges)]


def audio_segments(
    upload: Upload, model: Model, start: float, options: SandboxOptions
) -> Generator[Segment, None, None]:
    """Decode a file window by window and yield the segments of each.

    Every step blocks; take each in a thread. No more than one window is held in memory.

    Raises:
        MediaError: The file is empty, of another format or broken; possibly after some segments.
        RefusalError: The start lies at or beyond the end of the file.
    """
    if not upload.size:
        raise MediaError("The audio file is empty.")
    _sniff(upload.file)
    try:
        with _Sound(upload.file) as sound:
            _check_sound(sound)
            duration = sound.frames / sound.samplerate
            if start >= duration:
                raise invalid("audio_start_offset_sec", f"It has to be less than the duration, {duration:.3f} seconds.")
            yield from _segments(sound, model, windows(model, start, duration), options)
    except soundfile.SoundFileError:
        raise MediaError(_NOT_VALID) from None


def _segments(sound: Any, model: Model, cuts: list[Window], options: SandboxOptions) -> Iterator[Segment]:  # noqa: ANN401
    rate = sound.samplerate
    newer = model.segmentation == "fixed"
    position = round(cuts[0].start * rate)
    _skip(sound, position)
    for cut in cuts:
        edge = min(round(cut.end * rate), sound.frames)
        samples, position = _read(sound, edge - position), edge
        end = cut.end if newer and options.end_offsets else None
        option = "audio" if newer else None
        yield Segment(project(timbre(samples, rate), model.dimensions), cut.start, end, option)
        if newer and options.paired_options:
            yield Segment(project(rhythm(samples, rate), model.dimensions), cut.start, end, "transcription")


def _skip(sound: Any, frames: int) -> None:  # noqa: ANN401
    if sound.seekable():
        sound.seek(frames)
        return
    for done in range(0, frames, sound.samplerate):
        sound.read(min(sound.samplerate, frames - done), dtype="float32")


def _read(sound: Any, frames: int) -> Samples:  # noqa: ANN401
    """Read frames a second at a time, mixed to one channel."""
    mono = np.zeros(max(1, frames), dtype=np.float32)
    filled = 0
    while filled < frames:
        part = sound.read(min(sound.samplerate, frames - filled), dtype="float32", always_2d=True)
        if not len(part):
            raise MediaError("Audio file is not valid. It ends before its declared length.")
        mono[filled : filled + len(part)] = part.mean(axis=1)
        filled += len(part)
    # A WAV of floats may hold anything, also what is not a number.
    return np.clip(np.nan_to_num(mono), -1.0, 1.0)


def _sniff(file: Spool) -> None:
    # libsndfile would guess at raw and foreign formats; only three families are ours.
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    wav = head[:4] == b"RIFF" and head[8:12] == b"WAVE"
    mp3 = head[:3] == b"ID3" or (head[:1] == b"\xff" and len(head) > 1 and head[1] >= 0xE0)  # noqa: PLR2004
    if not (wav or mp3 or head[:4] == b"fLaC"):
        raise MediaError(_NOT_VALID)


def _check_sound(sound: Any) -> None:  # noqa: ANN401
    if sound.format not in _FORMATS or sound.frames < 1:
        raise MediaError(_NOT_VALID)
    if sound.channels > _MAX_CHANNELS or sound.samplerate not in _RATES:
        raise MediaError("Audio file is not valid. It may have up to 8 channels at 4 to 192 kHz.")


def _even_count(length: float, aim: float) -> int:
    fewer = max(1, int(length // aim))
    return min(fewer, fewer + 1, key=lambda count: abs(length / count - aim))
