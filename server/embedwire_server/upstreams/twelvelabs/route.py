"""Chooses how an input is sent: the API version, synchronous or as a task, and whether the file becomes an asset.

The choice depends on the model, the selection, the size and the duration, and is made before anything is sent. Facts:
upstream API notes, sections 11 to 13.
"""

import dataclasses
import enum

from embedwire_server.core.errors import UnsuitableFile
from embedwire_server.core.inputs import (
    AssetSource,
    AudioInput,
    FileSource,
    Input,
    ProcessingMode,
    TaskSource,
    TextInput,
    needs_task,
)
from embedwire_server.core.models import ApiVersion, AudioRules, Model

MAX_BASE64_BYTES = 36_000_000  # the largest file in a JSON body
MAX_ASSET_BYTES = 200_000_000  # the largest file in one request for an asset; a larger one is uploaded in chunks
# The duration in the header of an MP3 file includes padding, and may be an estimate.
DURATION_TOLERANCE_SECONDS = 1.0


class Upload(enum.Enum):
    """How the upstream gets a file before the request to embed it."""

    NONE = "none"  # the request has it
    DIRECT = "direct"  # as an asset, in one request
    CHUNKS = "chunks"  # as an asset, in chunks


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """How an input is sent."""

    version: ApiVersion
    is_task: bool = False
    upload: Upload = Upload.NONE


_V1, _V2 = Route(ApiVersion.V1), Route(ApiVersion.V2)


def route(item: Input, model: Model, size: int, seconds: float | None) -> Route:
    """Choose how an input is sent.

    Args:
        item: the input, whose selection the model supports.
        model: the model.
        size: bytes of its file; 0 if it has none.
        seconds: duration of its file; None if it is not known.

    Raises:
        UnsuitableFile: its file is too long or too large.
    """
    has_v1 = ApiVersion.V1 in model.api_versions
    if isinstance(item, TextInput):
        return _V1 if has_v1 else _V2
    if not isinstance(item, AudioInput):
        return _V1 if has_v1 and not isinstance(item.source, AssetSource) else _V2
    rules = model.audio or AudioRules()
    is_task = _is_task(item, model, rules, seconds)
    needs_v2 = is_task or item.has_selection or isinstance(item.source, AssetSource) or not has_v1
    if not needs_v2 and not (model.has_v2 and size > MAX_ASSET_BYTES):
        return _V1
    if not is_task and rules.max_sync_bytes is not None and size > rules.max_sync_bytes:
        raise UnsuitableFile(
            f"the file has {size} bytes, and model {model.name} accepts at most {rules.max_sync_bytes} with "
            "PROCESSING_MODE_SYNC; leave processing_mode unset"
        )
    return Route(ApiVersion.V2, is_task, _upload(item, size))


def _is_task(item: AudioInput, model: Model, rules: AudioRules, seconds: float | None) -> bool:
    """Whether audio is processed as a task.

    Raises:
        UnsuitableFile: the file is too long for the requested mode.
    """
    if isinstance(item.source, TaskSource):
        return True
    length = max(0.0, (seconds or 0.0) - DURATION_TOLERANCE_SECONDS)
    is_long = rules.max_sync_seconds is not None and length > rules.max_sync_seconds
    is_task = needs_task(model, item) or (is_long and rules.has_tasks and item.mode is ProcessingMode.AUTO)
    limit = rules.max_task_seconds if is_task else rules.max_sync_seconds
    if limit is not None and length > limit:
        how = "" if is_task or not rules.has_tasks else " with PROCESSING_MODE_SYNC"
        remedy = "leave processing_mode unset" if how else "divide the file"
        raise UnsuitableFile(
            f"the audio is {seconds:.0f} s long, and model {model.name} accepts at most {limit:.0f} s"
            f"{how}{model.because}; {remedy}"
        )
    return is_task


def _upload(item: AudioInput, size: int) -> Upload:
    if not isinstance(item.source, FileSource) or size <= MAX_BASE64_BYTES:
        return Upload.NONE
    return Upload.DIRECT if size <= MAX_ASSET_BYTES else Upload.CHUNKS
