"""The framing of CreateEmbeddingFromUpload: a request, then the chunks of each file in order."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Never

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.content import Upload
from embedwire_server.errors import InvalidRequest, InvalidUploadFraming
from embedwire_server.rpc import calls

Messages = AsyncIterator[pb.CreateEmbeddingFromUploadRequest]


async def first_request(messages: Messages) -> pb.CreateEmbeddingRequest:
    """Take the first message, which must hold the request.

    Raises:
        InvalidUploadFraming: there is none, or it holds something else.
    """
    message = await _next(messages)
    if message is None or message.WhichOneof("payload") != "request":
        raise InvalidUploadFraming("request", "the first message must hold the request")
    return message.request


async def receive(messages: Messages, uploads: Mapping[int, Upload]) -> AsyncGenerator[Never]:
    """Hand the chunks to their uploads until the caller has finished; yields nothing.

    Args:
        messages: what follows the request.
        uploads: by input index, in the order in which their files must come.

    Raises:
        InvalidUploadFraming: a message breaks the framing.
    """
    for index, upload in uploads.items():
        await upload.open()
        last = False
        while not last:
            chunk = await _chunk_of(messages, index)
            await upload.write(chunk.data)
            last = chunk.last
        await upload.finish()
    if await anext(messages, None) is not None:
        raise InvalidUploadFraming("chunk", "every file has already had its last chunk")
    return
    yield  # makes this a generator, so that it runs beside the answers


async def _chunk_of(messages: Messages, index: int) -> pb.UploadChunk:
    message = await _next(messages)
    if message is None:
        raise InvalidUploadFraming("chunk", f"the stream ended before the last chunk of inputs[{index}]")
    if message.WhichOneof("payload") != "chunk":
        raise InvalidUploadFraming("request", "only the first message may hold a request; chunks must follow")
    if message.chunk.input_index != index:
        got = message.chunk.input_index
        raise InvalidUploadFraming("chunk.input_index", f"expected {index}, the next file in order, got {got}")
    return message.chunk


async def _next(messages: Messages) -> pb.CreateEmbeddingFromUploadRequest | None:
    message = await anext(messages, None)
    if message is None:
        await calls.has_said_all()
    return message


@contextlib.contextmanager
def closing(uploads: Mapping[int, Upload]) -> Iterator[None]:
    """Whatever happens within the block, nothing of the files is left after it."""
    try:
        yield
    finally:
        for upload in uploads.values():
            upload.close()


@contextlib.asynccontextmanager
async def told_at_the_end(messages: Messages) -> AsyncGenerator[None]:
    """An invalid request is refused only once its caller has sent everything.

    Some clients, met by a status in the middle of their sending, report the failed write instead of it.
    """
    try:
        yield
    except InvalidRequest:
        async for _ in messages:
            pass
        raise
