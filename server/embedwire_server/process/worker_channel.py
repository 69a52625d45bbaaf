"""Message channel between the supervisor and one worker, over a socket pair.

Neither side ever blocks on the other: if the peer does not read, only the sender's buffer grows, and the wait for the
rest of a partly received message does not block the event loop.
"""

import asyncio
import pickle
import socket
import struct
from typing import Self

_LENGTH = struct.Struct("!I")
_MAX_BACKLOG = 256 << 10  # bytes that the kernel has not accepted


class Channel:
    """One end of the socket pair, within an event loop; `open` creates it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Create a channel from one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def has_room(self) -> bool:
        """Whether it is open, and the peer has read nearly all that was sent.

        Messages that may be lost are sent only then, so that a peer that does not read fills no memory.
        """
        return not self._writer.is_closing() and self._writer.transport.get_write_buffer_size() < _MAX_BACKLOG

    def send(self, message: object) -> None:
        """Send a message without waiting; it is lost if the peer has ended."""
        if self._writer.is_closing():
            return
        content = pickle.dumps(message)
        self._writer.write(_LENGTH.pack(len(content)) + content)

    async def receive(self) -> object:
        """Wait for the next message.

        Raises:
            EOFError: the peer has ended.
        """
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - between our own processes
        except (asyncio.IncompleteReadError, OSError) as error:
            raise EOFError("the other process has closed the channel") from error

    async def aclose(self) -> None:
        """Close the channel once the peer has received what was sent, or has ended."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return
