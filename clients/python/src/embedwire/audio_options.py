"""Options of an audio input: segmentation and processing mode, and the checks of their types."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

ProcessingMode = Literal["sync", "task"]

MAX_SECONDS = 2**31 - 1  # the type of the fields


@dataclasses.dataclass(frozen=True, slots=True)
class FixedSegmentation:
    """Division of audio into windows of equal duration. `Model.audio.fixed_segmentation` has the range of a model.

    Args:
        duration_sec: duration of a window in seconds.

    Raises:
        TypeError: the duration is not an int.
        ValueError: the duration is below 1 or above 2147483647.
    """

    duration_sec: int

    def __post_init__(self) -> None:
        _check_seconds("duration_sec", self.duration_sec)


@dataclasses.dataclass(frozen=True, slots=True)
class DynamicSegmentation:
    """Division of audio where its content changes. `Model.audio.dynamic_segmentation` has the range of a model.

    Args:
        min_duration_sec: minimum duration of a window in seconds.

    Raises:
        TypeError: the duration is not an int.
        ValueError: the duration is below 1 or above 2147483647.
    """

    min_duration_sec: int

    def __post_init__(self) -> None:
        _check_seconds("min_duration_sec", self.min_duration_sec)


Segmentation = FixedSegmentation | DynamicSegmentation


def check_segmentation(value: object) -> None:
    """Check the type of a segmentation.

    Raises:
        TypeError: it is not None and not a segmentation.
    """
    if not isinstance(value, Segmentation | None):
        kind = type(value).__name__
        raise TypeError(f"segmentation: must be FixedSegmentation, DynamicSegmentation or None, got {kind}")


def check_names(name: str, values: object) -> None:
    """Check the type of a list of names, for instance of embedding options.

    Raises:
        TypeError: it is not a sequence of strings.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise TypeError(f"{name}: must be a sequence of str, got {type(values).__name__}")
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(f"{name}[{index}]: must be a str, got {type(value).__name__}")


def check_processing_mode(value: object) -> None:
    """Check a processing mode.

    Raises:
        ValueError: it is unknown.
    """
    if value not in (None, "sync", "task"):
        raise ValueError(f"processing_mode: must be 'sync', 'task' or None, got {value!r}")


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: must be an int, got {type(value).__name__}")
    if not 1 <= value <= MAX_SECONDS:
        raise ValueError(f"{name}: must be 1 to {MAX_SECONDS}, got {value}")
