"""Framing of CreateEmbeddingFromUpload: a request message, then the chunks of each file in order.

A call whose caller sends too slowly, or continues a file that has failed, is aborted within fixed limits, so that no
call is read for longer than it is of use.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import GatewayError, InvalidUploadFraming, UploadStalled
from embedwire_server.media.spool import SpooledUpload
from embedwire_server.rpc import call_context

# The bytes that have to arrive within the idle timeout, 500 bytes/s at its default: single bytes are no progress.
LEAST_BYTES = 15_000
MAX_EMPTY_CHUNKS = 100
# The bytes of failed files that a call with several inputs may still send.
MAX_DISCARDED_BYTES = 64 << 20
# A call that is aborted early is read until its caller pauses, within these limits.
DRAIN_BYTES, DRAIN_SECONDS, DRAIN_PAUSE_SECONDS = 16 << 20, 5.0, 0.25

Messages = AsyncIterator[pb.CreateEmbeddingFromUploadRequest]


async def first_request(messages: Messages) -> pb.CreateEmbeddingRequest:
    """Read the first message, which must hold the request.

    Raises:
        InvalidUploadFraming: there is none, or it holds something else.
    """
    message = await _next(messages)
    if message is None or message.WhichOneof("payload") != "request":
        raise InvalidUploadFraming("request", "the first message must hold the request")
    return message.request


class Receiver:
    """Passes the chunks of one call to its uploads.

    Args:
        messages: the messages after the request.
        uploads: by input index, in the order in which their files must arrive.
        idle_timeout: seconds in which `LEAST_BYTES` of an upload, or the rest of it, have to arrive.
        is_single: whether the call has one input, whose failure ends it.
    """

    def __init__(
        self, messages: Messages, uploads: Mapping[int, SpooledUpload], idle_timeout: float, *, is_single: bool
    ) -> None:
        self._messages = messages
        self._uploads = uploads
        self._idle_timeout = idle_timeout
        self._is_single = is_single
        self._discarded = 0

    async def run(self) -> None:
        """Receive until the caller has finished.

        Raises:
            InvalidUploadFraming: a message breaks the framing.
            UploadStalled: the caller sends too slowly.
            GatewayError: a file has failed, and the caller has continued it for too long.
        """
        async with draining_at_exit(self._messages):
            for index, upload in self._uploads.items():
                await upload.open()
                await self._file(index, upload)
                await upload.finish()
            if await anext(self._messages, None) is not None:
                raise InvalidUploadFraming("chunk", "unexpected message: all files are complete")

    async def _file(self, index: int, upload: SpooledUpload) -> None:
        """Receive one file, up to its last chunk."""
        left, progress, empty, last = self._idle_timeout, 0, 0, False
        now = asyncio.get_running_loop().time
        while not last:
            began = now()
            try:
                async with asyncio.timeout(left):
                    chunk = await _chunk_of(self._messages, index)
            except TimeoutError:
                raise UploadStalled(upload.field, LEAST_BYTES, self._idle_timeout) from None
            last, size = chunk.last, len(chunk.data)
            left -= now() - began  # only the time in which the server waited for the caller
            progress += size  # also of a failed file, as its caller has no error yet; `_check` bounds the rest
            if progress >= LEAST_BYTES:
                left, progress = self._idle_timeout, 0
            empty = 0 if size or last else empty + 1
            if empty > MAX_EMPTY_CHUNKS:
                raise InvalidUploadFraming("chunk.data", f"more than {MAX_EMPTY_CHUNKS} empty chunks in a row")
            await upload.write(chunk.data)
            self._check(upload, size, last=last)

    def _check(self, upload: SpooledUpload, size: int, *, last: bool) -> None:
        """Abort the call if the file has failed and there is no use in reading on.

        Raises:
            GatewayError: the failure of the file.
        """
        if upload.fault is None or last:
            return
        self._discarded += size
        if self._is_single or self._discarded > MAX_DISCARDED_BYTES:
            raise upload.fault


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
        await call_context.await_half_close()
    return message


@contextlib.contextmanager
def closing(uploads: Mapping[int, SpooledUpload]) -> Iterator[None]:
    """Close all uploads when the block is left, in whatever way."""
    try:
        yield
    finally:
        for upload in uploads.values():
            upload.close()


@contextlib.asynccontextmanager
async def draining_at_exit(messages: Messages) -> AsyncGenerator[None]:
    """Drain the messages before a failure is raised, so that the client receives the status; see `drain`."""
    try:
        yield
    except GatewayError:
        await drain(messages)
        raise


async def drain(messages: Messages) -> None:
    """Read and discard messages, before a call is aborted early, until its caller pauses, within limits.

    Some clients that receive a status while they send report the failed write instead of the status.
    """
    size = 0
    with contextlib.suppress(TimeoutError, GatewayError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while size < DRAIN_BYTES:
                async with asyncio.timeout(DRAIN_PAUSE_SECONDS):
                    message = await anext(messages, None)
                if message is None:
                    return
                size += message.ByteSize()
