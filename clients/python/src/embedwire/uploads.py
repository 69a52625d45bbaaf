"""Messages of an upload: the request, then the chunks of each file."""

import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator

from embedwire import files
from embedwire.blocking import in_thread
from embedwire.inputs import Media
from embedwire.requests import Plan
from embedwire.v1 import embedding_pb2 as pb


class UploadMessages:
    """Request messages of one upload: the request, then the chunks of each file.

    gRPC iterates over them in its own thread or task, where an exception would be lost. It is kept in `error`, and the
    messages end in the middle of a file. The server then fails the call, and the reader of the responses raises
    `error` in place of that failure.

    Args:
        plan: the request and its files.
        chunk_bytes: maximum size of a chunk.

    Attributes:
        error: exception of a source; None if there is none.
        has_begun: whether the reading of a source has begun.
    """

    def __init__(self, plan: Plan, chunk_bytes: int) -> None:
        self.error: BaseException | None = None
        self.has_begun = False
        self._plan = plan
        self._chunk_bytes = chunk_bytes
        self._skipped: set[int] = set()
        self._reading = threading.Lock()  # held while a source is read
        self._is_stopped = False

    def skip(self, index: int) -> None:
        """Stop the upload of a file whose input has a result: the server would discard the rest."""
        self._skipped.add(index)

    def stop(self, seconds: float) -> bool:
        """Stop reading, since the call has ended.

        Args:
            seconds: maximum wait for a read that is in progress.

        Returns:
            Whether reading has stopped; False if a source blocks.
        """
        self._is_stopped = True
        is_at_rest = self._reading.acquire(timeout=seconds)
        if is_at_rest:
            self._reading.release()
        return is_at_rest

    def messages(self) -> Iterator[pb.CreateEmbeddingFromUploadRequest]:
        """Yield the messages, for the synchronous client."""
        yield pb.CreateEmbeddingFromUploadRequest(request=self._plan.request)
        try:
            for index, media in self._plan.uploads.items():
                for data in self._chunks(media):
                    if index in self._skipped:
                        break
                    yield _chunk(index, data)
                yield _chunk(index, b"", last=True)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - see the class
            self.error = error

    async def messages_async(self) -> AsyncIterator[pb.CreateEmbeddingFromUploadRequest]:
        """Yield the messages, for the asyncio client. Sources that may block are read in a thread."""
        yield pb.CreateEmbeddingFromUploadRequest(request=self._plan.request)
        try:
            for index, media in self._plan.uploads.items():
                async with contextlib.aclosing(self._chunks_async(media)) as chunks:
                    async for data in chunks:
                        if index in self._skipped:
                            break
                        yield _chunk(index, data)
                yield _chunk(index, b"", last=True)
        except Exception as error:  # noqa: BLE001 - see the class
            self.error = error

    def _chunks(self, media: Media) -> Iterator[bytes]:
        chunks = files.read(media, self._chunk_bytes)

        def read() -> bytes:
            with self._reading:
                if self._is_stopped:
                    return b""
                self.has_begun = True
                return next(chunks, b"")

        return iter(read, b"")

    def _chunks_async(self, media: Media) -> AsyncGenerator[bytes]:
        if isinstance(media.chunks, AsyncIterable):
            self.has_begun = True
            return files.split_async(media.chunks, self._chunk_bytes)
        return in_thread(self._chunks(media))


def _chunk(index: int, data: bytes, *, last: bool = False) -> pb.CreateEmbeddingFromUploadRequest:
    return pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(input_index=index, data=data, last=last))
