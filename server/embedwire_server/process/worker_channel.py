"""Messages between the supervisor and one worker, over a socket pair.

Neither side ever blocks on the other: a peer that does not read only lets the sender's buffer grow, and a message that
arrives in part waits for its rest without holding up the event loop.
"""

import asyncio
import pickle
import socket
import struct
from typing import Self

_LENGTH = struct.Struct("!I")


class Channel:
    """One end of the pair, within an event loop; `open` makes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def is_idle(self) -> bool:
        """Whether it is open, and the kernel has taken all that was sent."""
        return not self._writer.is_closing() and self._writer.transport.get_write_buffer_size() == 0

    def send(self, message: object) -> None:
        """Send a message, without waiting; lost if the peer has ended."""
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
        """Close it once the peer has taken what was sent, or has ended."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return
