"""Decoding and validation of what a caller selects for audio: window, segmentation, options and processing mode."""

import math
from collections.abc import Callable, Sequence

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.inputs import AudioInput, ProcessingMode, Segmentation, Source, TaskSource
from embedwire_server.core.models import AudioRules, Model

FUSED = "fused_embedding"
ASSET_SCOPE = "asset"

_MODES = {
    pb.PROCESSING_MODE_UNSPECIFIED: ProcessingMode.AUTO,
    pb.PROCESSING_MODE_SYNC: ProcessingMode.SYNC,
    pb.PROCESSING_MODE_TASK: ProcessingMode.TASK,
}

Fault = Callable[[str, str], None]


def audio_input(  # noqa: PLR0913 - what an audio input is read against
    message: pb.Input, source: Source, path: str, model: Model | None, fault: Fault, *, uncertainty: bool
) -> AudioInput:
    """Decode an audio input.

    Args:
        message: the input.
        source: its source, which is decoded already.
        path: the path of the audio in the request.
        model: the model; None if the request names none that exists.
        fault: called with the path of each invalid field, and how to correct it.
        uncertainty: whether the request asks for the uncertainty of vectors.
    """
    audio = message.audio
    item = AudioInput(
        message.key,
        source,
        audio.start_offset_sec if audio.HasField("start_offset_sec") else None,
        audio.end_offset_sec if audio.HasField("end_offset_sec") else None,
        _segmentation(audio.segmentation, f"{path}.segmentation", fault) if audio.HasField("segmentation") else None,
        tuple(audio.embedding_options),
        tuple(audio.embedding_scopes),
        tuple(audio.embedding_types),
        _MODES.get(audio.processing_mode, ProcessingMode.AUTO),
    )
    if audio.processing_mode not in _MODES:
        fault(f"{path}.processing_mode", f"unknown value {audio.processing_mode}")
    _check_offsets(item, path, fault)
    if isinstance(source, TaskSource) and (
        item.has_selection or item.start_offset_sec is not None or item.mode is not ProcessingMode.AUTO
    ):
        fault(path, "must have nothing beside source.task: the task was created with its own selection")
    elif model is not None and model.audio is not None:
        _check_selection(item, path, model, model.audio, fault, uncertainty=uncertainty)
    return item


def _segmentation(message: pb.Segmentation, path: str, fault: Fault) -> Segmentation | None:
    method = message.WhichOneof("method")
    if method == "fixed":
        return Segmentation("fixed", message.fixed.duration_sec)
    if method == "dynamic":
        return Segmentation("dynamic", message.dynamic.min_duration_sec)
    fault(path, "must have exactly one of fixed, dynamic; leave it unset for the model's default")
    return None


def _check_offsets(item: AudioInput, path: str, fault: Fault) -> None:
    start, end = item.start_offset_sec, item.end_offset_sec
    is_start_valid = start is None or (math.isfinite(start) and start >= 0)
    if not is_start_valid:
        fault(f"{path}.start_offset_sec", "must be a finite number of seconds, 0 or more")
    if end is not None and not (math.isfinite(end) and end > 0):
        fault(f"{path}.end_offset_sec", "must be a finite number of seconds, above 0")
    elif end is not None and start is not None and is_start_valid and end <= start:
        fault(f"{path}.end_offset_sec", f"must be after start_offset_sec, which is {start:g}; got {end:g}")


def _check_selection(  # noqa: PLR0913 - as above
    item: AudioInput, path: str, model: Model, rules: AudioRules, fault: Fault, *, uncertainty: bool
) -> None:
    """Check a selection against the row of the model."""
    _check_values(item, path, model, rules, fault)
    if uncertainty and ASSET_SCOPE in item.scopes:
        fault(f"{path}.embedding_scopes", f"{ASSET_SCOPE!r} has no uncertainty; leave include_uncertainty unset")
    if item.end_offset_sec is not None and not model.has_v2:
        fault(f"{path}.end_offset_sec", f"model {model.name} does not support it{model.because}")
    if item.segmentation is not None:
        _check_segmentation(item.segmentation, f"{path}.segmentation", model, rules, fault)
    if item.mode is ProcessingMode.TASK and not rules.has_tasks:
        fault(f"{path}.processing_mode", f"model {model.name} has no tasks{model.because}; leave it unset")
    whole_file = item.mode is ProcessingMode.SYNC and rules.segments_need_task
    if whole_file and (item.has_selection or item.start_offset_sec is not None):
        text = f"model {model.name} embeds the whole file as one vector in this mode, and supports no selection"
        fault(f"{path}.processing_mode", f"{text}; use PROCESSING_MODE_TASK, or leave it unset")


def _check_values(item: AudioInput, path: str, model: Model, rules: AudioRules, fault: Fault) -> None:
    """Check the values that are selected by name."""

    def check(name: str, values: Sequence[str], supported: Sequence[str]) -> None:
        for value in values:
            if value not in supported:
                can = ", ".join(supported) if supported else "nothing"
                fault(f"{path}.{name}", f"model {model.name} supports {can} here{model.because}, got {value[:64]!r}")
        if len(set(values)) < len(values):
            fault(f"{path}.{name}", "must have each value once")

    check("embedding_options", item.options, rules.options)
    check("embedding_scopes", item.scopes, rules.scopes)
    check("embedding_types", item.types, rules.types)
    if FUSED in item.types and item.options and len(item.options) < len(rules.options):
        needed = ", ".join(rules.options)
        fault(f"{path}.embedding_types", f"{FUSED} combines the embedding options: select all of {needed}, or none")


def _check_segmentation(wanted: Segmentation, path: str, model: Model, rules: AudioRules, fault: Fault) -> None:
    is_fixed = wanted.method == "fixed"
    limits = rules.fixed_segmentation if is_fixed else rules.dynamic_segmentation
    field = f"{path}.fixed.duration_sec" if is_fixed else f"{path}.dynamic.min_duration_sec"
    if limits is None:
        fault(path, f"model {model.name} does not support {wanted.method} segmentation{model.because}")
    elif not limits[0] <= wanted.seconds <= limits[1]:
        fault(field, f"model {model.name} accepts {limits[0]} to {limits[1]} seconds, got {wanted.seconds}")
