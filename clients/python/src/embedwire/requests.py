"""Inputs to messages: what travels in the request, what is uploaded, and the messages of an upload."""

import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

from embedwire import files, vectors
from embedwire.inputs import Audio, Image, Input, Known, Media, Text
from embedwire.options import CallOptions
from embedwire.v1 import embedding_pb2 as pb

# Above this, files are uploaded in chunks; the contract recommends it.
INLINE_BYTES = 1 << 20
# What one message may hold, less room for everything else in it.
MESSAGE_BYTES = (16 << 20) - (1 << 20)
CHUNK_BYTES = 256 << 10
# What a call without a deadline gets by the contract; a client that sets it cannot hang on a dead connection.
TEXT_SECONDS = 60.0
AUDIO_SECONDS = 600.0

_TRUNCATES = {
    None: pb.TRUNCATE_UNSPECIFIED,
    "none": pb.TRUNCATE_NONE,
    "start": pb.TRUNCATE_START,
    "end": pb.TRUNCATE_END,
}


def listed(inputs: Input | Sequence[Input]) -> list[Known]:
    """One input, or several, as a list.

    Raises:
        TypeError: there is something else among them.
    """
    found: list[Known] = []
    for index, item in enumerate([inputs] if isinstance(inputs, Input) else inputs):
        if not isinstance(item, Text | Image | Audio):
            raise TypeError(f"inputs[{index}]: must be Text, Image or Audio, got {type(item).__name__}")
        found.append(item)
    return found


def default_timeout(inputs: Sequence[Known]) -> float:
    """Seconds that a call gets whose caller says nothing: the defaults of the contract."""
    return AUDIO_SECONDS if any(isinstance(item, Audio) for item in inputs) else TEXT_SECONDS


def reads_files(inputs: Sequence[Known]) -> bool:
    """Whether making the request touches files, which may block."""
    return any(isinstance(item, Media) and (item.path or item.file) for item in inputs)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A request and the files that follow it in chunks, by input index."""

    request: pb.CreateEmbeddingRequest
    uploads: dict[int, Media]


def plan(model: str, inputs: Sequence[Known], options: CallOptions) -> Plan:
    """Decide for each file whether it travels in the request.

    Raises:
        OSError: a path is no file that can be read.
        ValueError: an option cannot be meant.
    """
    uploads: dict[int, Media] = {}
    room = INLINE_BYTES
    messages = []
    for index, item in enumerate(inputs):
        size = files.size(item) if isinstance(item, Media) and item.url is None else 0
        if isinstance(item, Media) and (size is None or size > room):
            uploads[index] = item
            messages.append(_input(item, _upload_source(item, size)))
        else:
            room -= size or 0
            messages.append(_inline(item, size or 0))
    return Plan(_request(pb.CreateEmbeddingRequest, model, messages, options), uploads)


def unary(model: str, inputs: Sequence[Known], options: CallOptions) -> pb.CreateEmbeddingUnaryRequest:
    """Put everything into one message.

    Raises:
        OSError: a path is no file that can be read.
        ValueError: the files do not fit, or the size of one cannot be known before it is read; or an option cannot
            be meant.
    """
    room = MESSAGE_BYTES
    sizes = []
    for index, item in enumerate(inputs):
        size = files.size(item) if isinstance(item, Media) and item.url is None else 0
        if size is None or size > room:
            raise ValueError(f"inputs[{index}]: a unary call has room for files of {MESSAGE_BYTES} bytes; use embed()")
        room -= size
        sizes.append(size)
    messages = [_inline(item, size) for item, size in zip(inputs, sizes, strict=True)]
    return _request(pb.CreateEmbeddingUnaryRequest, model, messages, options)


class Upload:
    """The messages of one upload: the request, then the chunks of each file.

    gRPC reads them in a place of its own, a thread or a task, where an exception would be lost. So one is kept in
    `error`, and the messages end in the middle of a file; the server then fails the call, and whoever reads the
    answers raises the error.

    Args:
        plan: the request and its files.
        chunk_bytes: largest size of a chunk.

    Raises:
        ValueError: no chunk has that size, or no message has room for it.
    """

    def __init__(self, plan: Plan, chunk_bytes: int) -> None:
        if not 1 <= chunk_bytes <= MESSAGE_BYTES:
            raise ValueError(f"chunk_bytes: must be 1 to {MESSAGE_BYTES}, got {chunk_bytes}")
        self.error: BaseException | None = None
        self._plan = plan
        self._chunk_bytes = chunk_bytes
        self._answered: set[int] = set()

    def answered(self, index: int) -> None:
        """Send no more of this file: its input has a result, so the rest would be discarded."""
        self._answered.add(index)

    def messages(self) -> Iterator[pb.CreateEmbeddingFromUploadRequest]:
        """The messages, for a thread."""
        yield pb.CreateEmbeddingFromUploadRequest(request=self._plan.request)
        try:
            for index, media in self._plan.uploads.items():
                for data in files.read(media, self._chunk_bytes):
                    if index in self._answered:
                        break
                    yield _chunk(index, data)
                yield _chunk(index, b"", last=True)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - see the class
            self.error = error

    async def messages_async(self) -> AsyncIterator[pb.CreateEmbeddingFromUploadRequest]:
        """The messages, for a task."""
        yield pb.CreateEmbeddingFromUploadRequest(request=self._plan.request)
        try:
            for index, media in self._plan.uploads.items():
                async for data in files.read_async(media, self._chunk_bytes):
                    if index in self._answered:
                        break
                    yield _chunk(index, data)
                yield _chunk(index, b"", last=True)
        except Exception as error:  # noqa: BLE001 - see the class
            self.error = error


_Request = TypeVar("_Request", pb.CreateEmbeddingRequest, pb.CreateEmbeddingUnaryRequest)


def _request(kind: type[_Request], model: str, inputs: list[pb.Input], options: CallOptions) -> _Request:
    max_retries = options.get("max_retries")
    if max_retries is not None and max_retries < 0:
        raise ValueError(f"max_retries: must be 0 or more, got {max_retries}")
    return kind(
        model_name=model,
        inputs=inputs,
        vector_encoding=vectors.encoding(options.get("encoding")),
        max_retries=max_retries,
    )


def _chunk(index: int, data: bytes, *, last: bool = False) -> pb.CreateEmbeddingFromUploadRequest:
    return pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(input_index=index, data=data, last=last))


def _inline(item: Known, size: int) -> pb.Input:
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
