"""Vectors of audio in the v2 dialect."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from embedwire_sandbox.errors import RefusalError, invalid, over_duration
from embedwire_sandbox.media.audio import Check, Section, Window, sections
from embedwire_sandbox.media.spectrum import rhythm, timbre
from embedwire_sandbox.media.text import text_vector
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.media.vectors import Vector, project
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.v2.audio_parameters import AudioParameters
from embedwire_sandbox.v2.parameters import Common
from embedwire_sandbox.v2.result import Item
from embedwire_sandbox.v2.vectors import combined, of_model, uncertainty
from embedwire_sandbox.v2.windows import windows

_FEATURES: Final = {"audio": timbre, "transcription": rhythm}
_FULL: Final = 512


class DurationError(Exception):
    """The audio is too long or too short.

    Attributes:
        message: The upstream's sentence.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Embedded(NamedTuple):
    """Vectors of one file, and its duration in seconds."""

    items: list[Item]
    duration_sec: float


class _Clip(NamedTuple):
    window: Window
    vector: Vector


class AudioEmbedding:
    """Computes the vectors of one file. Blocks; run it in a thread.

    Args:
        parameters: What to compute.
        common: Model and dimension.
        options: The options.
        longest_sec: Longest permitted duration, in seconds.
        shortest_sec: Shortest permitted duration, in seconds.
    """

    def __init__(
        self,
        parameters: AudioParameters,
        common: Common,
        options: SandboxOptions,
        longest_sec: float,
        shortest_sec: float = 0.0,
    ) -> None:
        self._parameters = parameters
        self._common = common
        self._options = options
        self._longest_sec = longest_sec
        self._shortest_sec = shortest_sec
        self._duration = 0.0

    def compute(self, upload: Upload, check: Check) -> Embedded:
        """Return the vectors of a file; if it gets one vector only, that of Marengo 3.0.

        Args:
            upload: The file.
            check: Called between two blocks; raises to stop the work.

        Raises:
            MediaError: The file is broken.
            DurationError: It is too long or too short.
            RefusalError: The section lies outside the file.
        """
        clips: dict[str, list[_Clip]] = defaultdict(list)
        for section in sections(upload, self._plan, self._options.max_audio_samples, check):
            for option in self._options_of_clips():
                clips[option].append(_Clip(self._window(section.window, option), _vector(section, option)))
        if self._parameters.whole:
            whole = combined([clip.vector for clip in clips["audio"]])
            return Embedded([Item(whole)], self._duration)
        return Embedded(list(self._items(clips)), self._duration)

    def _plan(self, duration: float) -> Iterator[Window]:
        parameters = self._parameters
        self._duration = duration
        if duration > self._longest_sec:
            raise DurationError(over_duration(duration, self._longest_sec))
        if duration < self._shortest_sec:
            raise DurationError("The embedding request was invalid.")
        start = parameters.start_sec or 0.0
        if start >= duration:
            raise _outside(parameters, f"It has to be less than the duration, {duration:.3f} seconds.")
        return windows(parameters.segmentation, start, min(parameters.end_sec or duration, duration))

    def _options_of_clips(self) -> Sequence[str]:
        wanted = self._parameters.options
        if self._options.transcription == "missing":
            return [option for option in wanted if option != "transcription"]
        return wanted

    def _window(self, window: Window, option: str) -> Window:
        if option == "transcription" and self._options.transcription == "other":
            return Window(window.start, (window.start + window.end) / 2)  # the first half, as if speech ended there
        return window

    def _items(self, clips: dict[str, list[_Clip]]) -> Iterator[Item]:
        parameters = self._parameters
        groups = dict(clips) if parameters.separate else {}
        if parameters.fused:
            groups["fused"] = [
                _Clip(together[0].window, self._fused(together)) for together in zip(*clips.values(), strict=True)
            ]
        for option, found in groups.items():
            if "clip" in parameters.scopes or "local" in parameters.scopes:
                for clip in found:
                    yield self._item(clip.vector, option, "clip", clip.window)
            if "asset" in parameters.scopes:
                whole = Window(parameters.start_sec or 0.0, min(parameters.end_sec or self._duration, self._duration))
                yield self._item(combined([clip.vector for clip in found]), option, "asset", whole)

    def _fused(self, together: tuple[_Clip, ...]) -> Vector:
        window = together[0].window
        texts = [
            text_vector(entry.text, _FULL)
            for entry in self._parameters.texts
            if entry.start < window.end and entry.end >= window.start
        ]
        return combined([*(clip.vector for clip in together), *texts])

    def _item(self, vector: Vector, option: str, scope: str, window: Window) -> Item:
        final = of_model(vector, self._common)
        return Item(final, option, scope, window.start, window.end, uncertainty(final, self._common))


def _vector(section: Section, option: str) -> Vector:
    return project(_FEATURES[option](section.samples, section.rate), _FULL)


def _outside(parameters: AudioParameters, detail: str) -> RefusalError:
    return invalid(f"{parameters.source.path.partition('.')[0]}.start_sec", detail)
