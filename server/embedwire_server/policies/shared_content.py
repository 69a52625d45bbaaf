"""File content that several callers have sent, byte by byte the same."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Hashable

from embedwire_server.core.inputs import Content
from embedwire_server.media.in_memory import READ_BYTES


class SharedContent:
    """Reads the file of one of the callers that still wait for its result.

    A caller's file is closed when its call ends. The others have the same bytes, so reading continues with one of
    theirs: no file is kept open for a caller that has left.
    """

    def __init__(self) -> None:
        self._files: dict[Hashable, Content] = {}  # by caller

    def add(self, caller: Hashable, file: Content) -> None:
        """Use this file, which must be complete, until it is removed."""
        self._files[caller] = file

    def remove(self, caller: Hashable) -> None:
        """Do not read the file of this caller any more: it is about to be closed."""
        self._files.pop(caller, None)

    async def ready(self) -> int:
        """Return the size in bytes, without waiting."""
        return await next(iter(self._files.values())).ready()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read the whole file from its start; see `core.inputs.Content`."""
        for offset in range(0, await self.ready(), READ_BYTES):
            yield await asyncio.to_thread(self.read_at, offset, READ_BYTES)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read a piece; see `core.inputs.Content`."""
        closed = None
        while (files := list(self._files.values())) and files[0] is not closed:  # callers leave during the read
            closed = files[0]
            with contextlib.suppress(ValueError):
                return closed.read_at(offset, size)
        raise ValueError("every caller has left")

    def close(self) -> None:
        """Do nothing: each caller closes its own file."""
