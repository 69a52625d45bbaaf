"""The options of audio on the command line."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, cast

import typer

from embedwire.audio_options import DynamicSegmentation, FixedSegmentation, ProcessingMode, Segmentation

_SEGMENTATIONS: dict[str, Callable[[int], Segmentation]] = {"fixed": FixedSegmentation, "dynamic": DynamicSegmentation}

# Names of the options, by the arguments of `Audio`.
FLAGS = {
    "start_offset_sec": "--start-offset",
    "end_offset_sec": "--end-offset",
    "segmentation": "--segmentation",
    "embedding_options": "--embedding-option",
    "embedding_scopes": "--embedding-scope",
    "embedding_types": "--embedding-type",
    "processing_mode": "--processing-mode",
}


class Mode(enum.StrEnum):
    """Values of `Audio.processing_mode`; an enum, since older versions of typer know no literals."""

    SYNC = "sync"
    TASK = "task"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AudioOptions:
    """The options of all audio inputs of a command; None or empty if they are not given.

    Attributes:
        start_offset: start in seconds.
        end_offset: end in seconds.
        segmentation: division into segments.
        aspects: embedding options.
        scopes: embedding scopes.
        types: embedding types.
        mode: processing mode.
    """

    start_offset: float | None = None
    end_offset: float | None = None
    segmentation: Segmentation | None = None
    aspects: Sequence[str] = ()
    scopes: Sequence[str] = ()
    types: Sequence[str] = ()
    mode: Mode | None = None

    @property
    def flags(self) -> list[str]:
        """The names of the options that are given."""
        return [FLAGS[name] for name, value in self.arguments.items() if value not in (None, (), [])]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `Audio`."""
        return {
            "start_offset_sec": self.start_offset,
            "end_offset_sec": self.end_offset,
            "segmentation": self.segmentation,
            "embedding_options": self.aspects,
            "embedding_scopes": self.scopes,
            "embedding_types": self.types,
            "processing_mode": None if self.mode is None else cast("ProcessingMode", str(self.mode)),
        }


def parse_segmentation(value: str | None) -> Segmentation | None:
    """Parse "fixed:SECONDS" or "dynamic:SECONDS".

    Raises:
        BadParameter: it is neither.
    """
    if value is None:
        return None
    method, _, seconds = value.partition(":")
    try:
        return _SEGMENTATIONS[method](int(seconds))
    except (KeyError, ValueError):
        fault = f"must be fixed:SECONDS or dynamic:SECONDS with whole seconds, got {value!r}"
        raise typer.BadParameter(fault, param_hint="--segmentation") from None
