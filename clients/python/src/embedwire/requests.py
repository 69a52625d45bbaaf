"""Encoding of inputs to requests: which files are sent inline, and which are uploaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from embedwire import files, vectors
from embedwire.audio_options import FixedSegmentation, Segmentation
from embedwire.inputs import AnyInput, Audio, Image, Input, Media, RepeatableChunks, Text
from embedwire.options import CallOptions
from embedwire.v1 import embedding_pb2 as pb

# Files beyond this total are uploaded in chunks, as `embedding.proto` recommends.
INLINE_BYTES = 1 << 20
# Segments that are decoded together share a message, which costs less than one for each.
SEGMENTS_PER_MESSAGE = 100

_TRUNCATES = {
    None: pb.TRUNCATE_UNSPECIFIED,
    "none": pb.TRUNCATE_NONE,
    "start": pb.TRUNCATE_START,
    "end": pb.TRUNCATE_END,
}
_PROCESSING_MODES = {
    None: pb.PROCESSING_MODE_UNSPECIFIED,
    "sync": pb.PROCESSING_MODE_SYNC,
    "task": pb.PROCESSING_MODE_TASK,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A request, its inputs, and the files to upload after it, by input index."""

    request: pb.CreateEmbeddingRequest
    inputs: Sequence[AnyInput]
    uploads: Mapping[int, Media]


def check_input(index: int, item: object) -> AnyInput:
    """Return the item as an input.

    Raises:
        TypeError: it is not a Text, Image or Audio.
    """
    if not isinstance(item, Text | Image | Audio):
        raise TypeError(f"inputs[{index}]: must be Text, Image or Audio, got {type(item).__name__}")
    return item


def normalize_inputs(inputs: Input | Sequence[Input]) -> list[AnyInput]:
    """Return one input or several as a list.

    Raises:
        TypeError: an item is not a Text, Image or Audio.
    """
    return [check_input(index, item) for index, item in enumerate([inputs] if isinstance(inputs, Input) else inputs)]


def reads_files(inputs: Sequence[AnyInput]) -> bool:
    """Return whether building the request reads files, which may block."""
    return any(
        isinstance(item, Media) and (item.path or item.file or isinstance(item.chunks, RepeatableChunks))
        for item in inputs
    )


def is_one_text(inputs: Sequence[AnyInput]) -> TypeGuard[tuple[Text]]:
    """Return whether these inputs are one text, which is sent by the unary RPC with the least overhead."""
    return len(inputs) == 1 and isinstance(inputs[0], Text)


def plan(model: str, inputs: Sequence[AnyInput], options: CallOptions) -> Plan:
    """Build the request and choose which files to send inline and which to upload.

    Raises:
        OSError: a file cannot be read.
    """
    uploads: dict[int, Media] = {}
    remaining_bytes = INLINE_BYTES
    messages = []
    for index, item in enumerate(inputs):
        size = file_bytes(item)
        if isinstance(item, Media) and (size is None or size > remaining_bytes):
            uploads[index] = item
        else:
            remaining_bytes -= size or 0
        messages.append(encode(item, size, is_upload=index in uploads))
    return assemble(model, inputs, messages, uploads, options)


def file_bytes(item: AnyInput) -> int | None:
    """Return the size of the file to send; 0 if there is none to send, None if unknown before it is read.

    Raises:
        OSError: the path is not a readable file.
    """
    return files.size(item) if isinstance(item, Media) and item.has_content else 0


def encode(item: AnyInput, size: int | None, *, is_upload: bool) -> pb.Input:
    """Encode an input, with the content of its file unless that is uploaded.

    Args:
        item: the input.
        size: result of `file_bytes`.
        is_upload: whether the file is uploaded.

    Raises:
        OSError: the file cannot be read.
        ValueError: a text cannot be encoded as UTF-8.
    """
    if isinstance(item, Text):
        return pb.Input(key=item.key, text=pb.TextInput(value=item.value, truncate=_TRUNCATES[item.truncate]))
    source = _source(item, size, is_upload=is_upload)
    if isinstance(item, Audio):
        return pb.Input(key=item.key, audio=_audio(item, source))
    return pb.Input(key=item.key, image=pb.ImageInput(source=source))


def assemble(
    model: str, inputs: Sequence[AnyInput], messages: list[pb.Input], uploads: Mapping[int, Media], options: CallOptions
) -> Plan:
    """Build the request of a stream from encoded inputs."""
    request = pb.CreateEmbeddingRequest(
        inputs=messages, max_segments_per_message=SEGMENTS_PER_MESSAGE, **_common_fields(model, options)
    )
    return Plan(request, inputs, uploads)


def unary_request(model: str, item: Text, options: CallOptions) -> pb.CreateEmbeddingUnaryRequest:
    """Build the request of a unary call with one text."""
    return pb.CreateEmbeddingUnaryRequest(inputs=[encode(item, 0, is_upload=False)], **_common_fields(model, options))


def _common_fields(model: str, options: CallOptions) -> dict[str, Any]:
    """Return the fields that all kinds of requests have, except the inputs."""
    return {
        "model_name": model,
        "vector_encoding": vectors.encoding(options.get("encoding")),
        "max_retries": options.get("max_retries"),
        "dimensions": options.get("dimensions"),
        "include_uncertainty": options.get("include_uncertainty", False),
    }


def _audio(item: Audio, source: pb.MediaSource) -> pb.AudioInput:
    return pb.AudioInput(
        source=source,
        start_offset_sec=item.start_offset_sec,
        end_offset_sec=item.end_offset_sec,
        segmentation=_segmentation(item.segmentation),
        embedding_options=item.embedding_options,
        embedding_scopes=item.embedding_scopes,
        embedding_types=item.embedding_types,
        processing_mode=_PROCESSING_MODES[item.processing_mode],
    )


def _segmentation(chosen: Segmentation | None) -> pb.Segmentation | None:
    if chosen is None:
        return None
    if isinstance(chosen, FixedSegmentation):
        return pb.Segmentation(fixed=pb.FixedSegmentation(duration_sec=chosen.duration_sec))
    return pb.Segmentation(dynamic=pb.DynamicSegmentation(min_duration_sec=chosen.min_duration_sec))


def _source(item: Media, size: int | None, *, is_upload: bool) -> pb.MediaSource:
    if item.url is not None:
        return pb.MediaSource(url=item.url)
    if item.asset_id is not None:
        return pb.MediaSource(asset=pb.AssetSource(id=item.asset_id))
    if isinstance(item, Audio) and item.task_id is not None:
        return pb.MediaSource(task=pb.TaskSource(id=item.task_id))
    names: dict[str, Any] = {"file_name": files.name(item), "media_type": files.media_type(item)}
    if is_upload:
        return pb.MediaSource(upload=pb.UploadSource(size_bytes=size, **names))
    return pb.MediaSource(file=pb.FileSource(data=files.read_whole(item, size or 0), **names))
