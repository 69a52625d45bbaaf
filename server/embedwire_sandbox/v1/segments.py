"""Audio segments of the v1 models.

Windows are those of the upstream API notes, section 6. The `transcription` segments of Marengo 3.0 are made of the
changes of loudness; nothing here recognises speech.
"""

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np

from embedwire_sandbox.errors import MediaError, invalid, over_duration
from embedwire_sandbox.media.audio import Check, Window, sections
from embedwire_sandbox.media.spectrum import rhythm, timbre
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.media.vectors import project
from embedwire_sandbox.models import Model
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.v1.result import Segment

_DIGITS: Final = 6  # offsets are written to the microsecond


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
) -> Generator[Segment]:
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

    def plan(duration: float) -> Iterator[Window]:
        if duration > options.max_sync_audio_sec:
            raise MediaError(over_duration(duration, options.max_sync_audio_sec))
        if start >= duration:
            raise invalid("audio_start_offset_sec", f"It has to be less than the duration, {duration:.3f} seconds.")
        return windows(model, start, duration)

    newer = model.segmentation == "fixed"
    for cut, samples, rate in sections(upload, plan, options.max_audio_samples, check):
        end = cut.end if newer and options.end_offsets else None
        option = "audio" if newer else None
        yield Segment(project(timbre(samples, rate), model.dimensions), cut.start, end, option)
        if newer and options.paired_options:
            yield Segment(project(rhythm(samples, rate), model.dimensions), cut.start, end, "transcription")


def _even_count(length: float, aim: float) -> int:
    fewer = max(1, int(length // aim))
    return min(fewer, fewer + 1, key=lambda count: abs(length / count - aim))
