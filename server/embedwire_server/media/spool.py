"""File content: in memory, or an upload that arrives in chunks and is spooled to disk.

A spooled file has no name: it is unlinked as soon as it is open, so that nothing is left on disk, also after a crash.
Disk I/O runs in threads, off the event loop.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import tempfile
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO

import structlog

from embedwire_server.core import failure_causes
from embedwire_server.core.errors import ContentTooLarge, GatewayError, ResourceFailure, UploadMismatch
from embedwire_server.media.in_memory import READ_BYTES
from embedwire_server.media.memory_budget import UploadAccount
from embedwire_server.observability.exception_logging import describe

IN_MEMORY_BYTES = 1 << 20
# The part of an upload that is collected before it is written to disk, also if memory is short: writing each small
# chunk separately would cost far more.
BLOCK_BYTES = 16 << 10

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class UploadDeclaration:
    """The caller's declaration of an upload.

    Attributes:
        field: the path of the upload source in the request, for errors.
        limit: the most bytes that are allowed.
        size: the declared bytes, if any.
        sha256: the declared hash, 32 bytes, if any.
        remedy: what to do with a larger file, for errors.
    """

    field: str
    limit: int
    size: int | None = None
    sha256: bytes | None = dataclasses.field(default=None, repr=False)
    remedy: str = "use a smaller file"


class SpooledUpload:
    """An upload that arrives in chunks: up to 1 MiB in memory if that is free, beyond that on disk.

    One side writes and finishes, the other waits for `ready` and reads `chunks`. A fault of the file is kept for the
    reader; the writer continues, and what it writes is discarded.

    Args:
        declaration: the caller's declaration.
        slots: limits the number of open uploads; this one holds a slot until it is closed, so that a caller that is
            faster than the upstream waits instead of filling the disk.
        memory: charged with received bytes that are not on disk. Where they do not fit they go to disk.
        directory: where to spool; None is the system's temporary directory.

    Attributes:
        fault: the failure of the file, once it is known.
    """

    def __init__(
        self,
        declaration: UploadDeclaration,
        slots: asyncio.Semaphore,
        memory: UploadAccount,
        directory: Path | None = None,
    ) -> None:
        self.fault: GatewayError | None = None
        self._announced = declaration
        self._slots = slots
        self._memory = memory
        self._directory = directory
        self._is_open = False
        self._pending = bytearray()  # one buffer: small chunks have no overhead
        self._charged = 0
        self._tail = b""  # what is not on disk, once the file is complete
        self._size = 0
        self._spooled = 0
        self._file: IO[bytes] | None = None
        self._reading = threading.Lock()  # a descriptor closed during a read may already be another file's
        self._hash = hashlib.sha256() if declaration.sha256 is not None else None
        self._complete = asyncio.Event()
        self._closed = False

    @property
    def field(self) -> str:
        """The path of the upload source in the request."""
        return self._announced.field

    @property
    def declaration(self) -> UploadDeclaration:
        """The caller's declaration."""
        return self._announced

    async def open(self) -> None:
        """Wait for a slot. Call it once, before the first write."""
        await self._slots.acquire()
        self._is_open = True
        if self._closed:
            self._release_slot()

    async def write(self, data: bytes) -> None:
        """Add the next bytes. After a fault, and once closed, they are discarded."""
        if self.fault is not None or self._closed:
            return
        self._size += len(data)
        declaration = self._announced
        if self._size > declaration.limit:
            self._fail(
                ContentTooLarge(declaration.field, f"larger than {declaration.limit} bytes; {declaration.remedy}")
            )
        elif declaration.size is not None and self._size > declaration.size:
            self._fail(self._wrong_size(f"more than {declaration.size}"))
        else:
            await self._keep(data)

    async def finish(self) -> None:
        """Declare the file complete, and check it against its declaration.

        Only now does `ready` return or raise: a caller that is still sending gets no error.
        """
        declaration = self._announced
        self._tail, self._pending = bytes(self._pending), bytearray()
        if self.fault is not None or self._closed:
            pass
        elif self._size == 0:
            self._fail(UploadMismatch(declaration.field, "the file is empty; send at least one byte"))
        elif declaration.size is not None and self._size != declaration.size:
            self._fail(self._wrong_size(str(self._size)))
        elif self._hash is not None and await asyncio.to_thread(self._digest) != declaration.sha256:
            self._fail(UploadMismatch(f"{declaration.field}.sha256", "the received bytes have another SHA-256 hash"))
        self._complete.set()

    def close(self) -> None:
        """Release memory, disk and slot; see `core.inputs.Content`."""
        self._closed = True
        self._release_slot()
        self._drop()

    async def ready(self) -> int:
        """Wait for the whole file; see `core.inputs.Content`."""
        await self._complete.wait()
        if self.fault is not None:
            raise self.fault
        return self._size

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read the whole file from its start; see `core.inputs.Content`."""
        for offset in range(0, self._size, READ_BYTES):
            if offset < self._spooled:
                yield await asyncio.to_thread(self.read_at, offset, READ_BYTES)
            else:
                yield self.read_at(offset, READ_BYTES)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read a piece; see `core.inputs.Content`."""
        spooled, tail = self._spooled, self._tail
        if self._closed:  # checked after the tail was read, since a close in between clears it
            raise ValueError("the upload is closed")
        from_disk = self._read(offset, min(size, spooled - offset)) if offset < spooled else b""
        return from_disk + tail[max(0, offset - spooled) : max(0, offset + size - spooled)]

    def _fail(self, fault: GatewayError) -> None:
        """Keep the fault, and release memory and disk."""
        self.fault = fault
        self._drop()

    def _drop(self) -> None:
        self._pending, self._tail = bytearray(), b""
        self._release()
        if self._file is not None:
            with self._reading, contextlib.suppress(OSError):  # a failed flush of a discarded file does not matter
                self._file.close()

    def _release_slot(self) -> None:
        if self._is_open:
            self._is_open = False
            self._slots.release()

    async def _keep(self, data: bytes) -> None:
        self._charged += len(data)
        fits = self._memory.hold(len(data))
        size = len(self._pending) + len(data)
        if size > (IN_MEMORY_BYTES if fits else BLOCK_BYTES):
            await self._spill(data)
        else:
            self._pending += data

    def _release(self) -> None:
        charged, self._charged = self._charged, 0
        self._memory.release(charged)

    async def _spill(self, data: bytes) -> None:
        spilled, self._pending = (self._pending, data), bytearray()
        try:
            await asyncio.to_thread(self._append, spilled)
            self._spooled += len(spilled[0]) + len(data)
        except OSError as error:
            cause = failure_causes.of_spool(error)
            log.error("an upload cannot be spooled", cause=cause, errno=error.errno, **describe(error))  # noqa: TRY400 - no texts
            self._fail(ResourceFailure(cause))
        finally:
            self._release()

    def _append(self, chunks: tuple[bytes | bytearray, ...]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory, prefix="embedwire-")  # noqa: SIM115 - close() does
        if self._closed:
            self._file.close()
            return
        self._file.writelines(chunks)
        self._file.flush()  # a full disk shows here, not when the file is read
        if self._hash is not None:
            for chunk in chunks:
                self._hash.update(chunk)

    def _read(self, offset: int, size: int) -> bytes:
        assert self._file is not None  # noqa: S101 - there are bytes on disk
        with self._reading:
            chunk = os.pread(self._file.fileno(), size, offset)  # does not move the position, which other readers use
        if len(chunk) < size:
            raise OSError("a spooled file is shorter than what was written")
        return chunk

    def _digest(self) -> bytes:
        assert self._hash is not None  # noqa: S101 - a hash was declared
        self._hash.update(self._tail)
        return self._hash.digest()

    def _wrong_size(self, got: str) -> UploadMismatch:
        declaration = self._announced
        return UploadMismatch(
            f"{declaration.field}.size_bytes", f"{declaration.size} bytes were declared, {got} were received"
        )
