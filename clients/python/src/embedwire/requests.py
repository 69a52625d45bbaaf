"""Encoding of inputs to requests: inline content, upload sources, and the messages of an upload."""

import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeGuard

from embedwire import files, vectors
from embedwire.inputs import AnyInput, Audio, Image, Input, Media, Text
from embedwire.options import CallOptions
from embedwire.v1 import embedding_pb2 as pb

# Files beyond this total are uploaded in chunks, as `embedding.proto` recommends.
INLINE_BYTES = 1 << 20
# Files in one message: the server's limit of a message, less 1 MiB for all other fields.
MESSAGE_BYTES = (16 << 20) - (1 << 20)
CHUNK_BYTES = 256 << 10
MAX_RETRIES = 2**31 - 1  # the type of the field
# Segments that are decoded together share a message, which costs less than one for each.
SEGMENTS_PER_MESSAGE = 100
# Default deadlines of the contract. The client sets them itself, as otherwise a call hangs on a dead connection.
TEXT_SECONDS = 60.0
AUDIO_SECONDS = 600.0

_TRUNCATES = {
    None: pb.TRUNCATE_UNSPECIFIED,
    "none": pb.TRUNCATE_NONE,
    "start": pb.TRUNCATE_START,
    "end": pb.TRUNCATE_END,
}


def normalize_inputs(inputs: Input | Sequence[Input]) -> list[AnyInput]:
    """Return one input or several as a list.

    Raises:
        TypeError: an item is not a Text, Image or Audio.
    """
    items: list[AnyInput] = []
    for index, item in enumerate([inputs] if isinstance(inputs, Input) else inputs):
        if not isinstance(item, Text | Image | Audio):
            raise TypeError(f"inputs[{index}]: must be Text, Image or Audio, got {type(item).__name__}")
        items.append(item)
    return items


def default_timeout(inputs: Sequence[AnyInput]) -> float:
    """Return the default timeout of a call in seconds."""
    return AUDIO_SECONDS if any(isinstance(item, Audio) for item in inputs) else TEXT_SECONDS


def reads_files(inputs: Sequence[AnyInput]) -> bool:
    """Whether building the request reads files, which may block."""
    return any(isinstance(item, Media) and (item.path or item.file) for item in inputs)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A request, and the files to upload after it, by input index."""

    request: pb.CreateEmbeddingRequest
    uploads: dict[int, Media]


def plan(model: str, inputs: Sequence[AnyInput], options: CallOptions) -> Plan:
    """Build the request and choose which files to send inline and which to upload.

    Raises:
        OSError: a file cannot be read.
        ValueError: an option is invalid.
    """
    uploads: dict[int, Media] = {}
    remaining_bytes = INLINE_BYTES
    messages = []
    for index, item in enumerate(inputs):
        size = files.size(item) if isinstance(item, Media) and item.url is None else 0
        if isinstance(item, Media) and (size is None or size > remaining_bytes):
            uploads[index] = item
            messages.append(_input(item, _upload_source(item, size)))
        else:
            remaining_bytes -= size or 0
            messages.append(_inline(item, size or 0))
    request = pb.CreateEmbeddingRequest(
        inputs=messages, max_segments_per_message=SEGMENTS_PER_MESSAGE, **_common_fields(model, options)
    )
    return Plan(request, uploads)


def unary_request(model: str, item: Text, options: CallOptions) -> pb.CreateEmbeddingUnaryRequest:
    """Build the request of a unary call, which is for one text.

    Raises:
        ValueError: an option is invalid.
    """
    return pb.CreateEmbeddingUnaryRequest(inputs=[_inline(item, 0)], **_common_fields(model, options))


def is_one_text(inputs: Sequence[AnyInput]) -> TypeGuard[tuple[Text]]:
    """Whether the unary call, which has the least overhead, is used for these inputs."""
    return len(inputs) == 1 and isinstance(inputs[0], Text)


class UploadMessages:
    """Request messages of one upload: the request, then the chunks of each file.

    gRPC iterates over them in its own thread or task, where an exception would be lost. It is kept in `error`, and the
    messages end in the middle of a file. The server then fails the call, and the reader of the responses raises
    `error` in place of that failure.

    Args:
        plan: the request and its files.
        chunk_bytes: largest size of a chunk.

    Raises:
        ValueError: the size is less than 1, or too large for a message.
    """

    def __init__(self, plan: Plan, chunk_bytes: int) -> None:
        if not 1 <= chunk_bytes <= MESSAGE_BYTES:
            raise ValueError(f"chunk_bytes: must be 1 to {MESSAGE_BYTES}, got {chunk_bytes}")
        self.error: BaseException | None = None
        self._plan = plan
        self._chunk_bytes = chunk_bytes
        self._skipped: set[int] = set()

    def skip(self, index: int) -> None:
        """Stop sending this file: its input has a result, and the server would discard the rest."""
        self._skipped.add(index)

    def messages(self) -> Iterator[pb.CreateEmbeddingFromUploadRequest]:
        """Yield the messages, for the synchronous client."""
        yield pb.CreateEmbeddingFromUploadRequest(request=self._plan.request)
        try:
            for index, media in self._plan.uploads.items():
                for data in files.read(media, self._chunk_bytes):
                    if index in self._skipped:
                        break
                    yield _chunk(index, data)
                yield _chunk(index, b"", last=True)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - see the class
            self.error = error

    async def messages_async(self) -> AsyncIterator[pb.CreateEmbeddingFromUploadRequest]:
        """Yield the messages, for the asyncio client."""
        yield pb.CreateEmbeddingFromUploadRequest(request=self._plan.request)
        try:
            for index, media in self._plan.uploads.items():
                async for data in files.read_async(media, self._chunk_bytes):
                    if index in self._skipped:
                        break
                    yield _chunk(index, data)
                yield _chunk(index, b"", last=True)
        except Exception as error:  # noqa: BLE001 - see the class
            self.error = error


def _common_fields(model: str, options: CallOptions) -> dict[str, Any]:
    """Return the fields that every kind of request has, but for the inputs."""
    max_retries = options.get("max_retries")
    if max_retries is not None and not 0 <= max_retries <= MAX_RETRIES:
        raise ValueError(f"max_retries: must be 0 to {MAX_RETRIES}, got {max_retries}")
    return {
        "model_name": model,
        "vector_encoding": vectors.encoding(options.get("encoding")),
        "max_retries": max_retries,
    }


def _chunk(index: int, data: bytes, *, last: bool = False) -> pb.CreateEmbeddingFromUploadRequest:
    return pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(input_index=index, data=data, last=last))


def _inline(item: AnyInput, size: int) -> pb.Input:
    if isinstance(item, Text):
        text = pb.TextInput(value=item.value, truncate=_TRUNCATES[item.truncate])
        return pb.Input(key=item.key, text=text)
    if item.url is not None:
        return _input(item, pb.MediaSource(url=item.url))
    data = files.read_whole(item, size)
    file = pb.FileSource(data=data, file_name=files.name(item), media_type=files.media_type(item))
    return _input(item, pb.MediaSource(file=file))


def _upload_source(item: Media, size: int | None) -> pb.MediaSource:
    upload = pb.UploadSource(file_name=files.name(item), media_type=files.media_type(item), size_bytes=size)
    return pb.MediaSource(upload=upload)


def _input(item: Media, source: pb.MediaSource) -> pb.Input:
    if isinstance(item, Audio):
        return pb.Input(key=item.key, audio=pb.AudioInput(source=source, start_offset_sec=item.start_offset_sec))
    return pb.Input(key=item.key, image=pb.ImageInput(source=source))
