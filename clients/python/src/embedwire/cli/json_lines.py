"""Output of events as JSON Lines. Field names are those of the contract; durations are in seconds."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from embedwire.cli.given import InputArgument
from embedwire.cli.receiver import Outcome, Pending
from embedwire.errors import Failure
from embedwire.results import Result, Segment
from embedwire.vectors import Vector

Write = Callable[[str], object]


class JsonLines:
    """Event sink that writes one JSON object per event. Each input ends with one result, even if the call fails.

    Args:
        write: writes one line.
    """

    def __init__(self, write: Write) -> None:
        self._write = write

    def segment(self, segment: Segment, _: InputArgument) -> None:
        """Write a segment, with the whole vector."""
        self._write(json.dumps(_segment(segment)))

    def result(self, result: Result, _: Pending) -> None:
        """Write a result."""
        self._write(json.dumps(_result(result)))

    def end(self, outcome: Outcome) -> None:
        """Write the failure of the call as the result of each input without one."""
        if outcome.error is None:
            return
        for index, pending in outcome.pending.items():
            line = {
                "type": "result",
                "input_index": index,
                "input_key": pending.given.key,
                "segment_count": pending.segments,
                "attempts": outcome.error.attempts,
                "failure": _failure(outcome.error.failure),
                "request_id": outcome.error.request_id,
            }
            self._write(json.dumps(line))


def _segment(segment: Segment) -> dict[str, Any]:
    audio = {
        "start_offset_sec": segment.start_offset_sec,
        "end_offset_sec": segment.end_offset_sec,
        "embedding_option": segment.embedding_option,
        "embedding_scope": segment.embedding_scope,
    }
    line = {
        "type": "segment",
        "input_index": segment.input_index,
        "input_key": segment.input_key,
        "segment_index": segment.segment_index,
        segment.modality: audio if segment.modality == "audio" else {},
        "vector": _vector(segment.vector),
    }
    if segment.uncertainty is not None:
        line["uncertainty"] = _vector(segment.uncertainty)
    return line


def _vector(values: Vector) -> dict[str, Any]:
    return {"dimensions": len(values), "values": values.tolist()}


def _result(result: Result) -> dict[str, Any]:
    origin = {"input_url": result.input_url, "input_filename": result.input_filename}
    return {
        "type": "result",
        "input_index": result.input_index,
        "input_key": result.input_key,
        "model_name": result.model_name,
        "dimensions": result.dimensions,
        "segment_count": result.segment_count,
        "metadata": {name: value for name, value in origin.items() if value is not None},
        "truncated": result.truncated,
        "media_duration_sec": result.media_duration_sec,
        "attempts": result.attempts,
        "timings": dataclasses.asdict(result.timings),
        "upstream": result.upstream,
        "input_tokens": dict(result.input_tokens),
        "upstream_task_id": result.upstream_task_id,
        "cache_status": result.cache_status,
        "failure": None if result.failure is None else _failure(result.failure),
        "request_id": result.request_id,
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "code": failure.code,
        "reason": failure.reason,
        "message": failure.message,
        "field_violations": [dataclasses.asdict(item) for item in failure.violations],
        "retry_delay": failure.retry_delay,
        "quota_violations": [dataclasses.asdict(item) for item in failure.quotas],
        "upstream_error": None if failure.upstream is None else dataclasses.asdict(failure.upstream),
        "cause": failure.cause,
        "upstream_task_id": failure.upstream_task_id,
    }
