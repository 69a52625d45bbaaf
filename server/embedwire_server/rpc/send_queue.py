"""Send queues of gRPC's connections: whether the client's host has received what was sent.

gRPC does not report which socket a connection has. Its file descriptor is found by the address of the peer, among all
of this process. Linux only: on other systems, nothing is found, and nothing is waited for.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
import struct
import sys
import termios
from collections.abc import AsyncGenerator
from pathlib import Path

from embedwire_server.rpc.call_context import caller_of

# Of the peer's receive window, for what is sent afterwards: a status.
LEAST_WINDOW = 1_024

_DESCRIPTORS = Path("/proc/self/fd")
_INT = struct.Struct("i")
# Of struct tcp_info: tcpi_state is its first byte; tcpi_snd_wnd exists since Linux 5.4.
_TCP_CLOSE = 7
_WINDOW_OFFSET = 228


class SendQueues:
    """The send queues of all connections of this process, by gRPC's name of the peer.

    The calls of a connection share its queue: a caller with many calls must not use up the file descriptors.
    """

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._open: dict[str, SendQueue] = {}
        self._search = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def of(self, peer: str) -> AsyncGenerator["SendQueue | None"]:
        """Open the send queue of a connection; None if there is no such connection."""
        address = _address(peer)
        queue = await self._find(address)
        if queue is None:
            yield None
            return
        try:
            yield queue
        finally:
            self._release(address, queue)

    async def _find(self, address: str) -> "SendQueue | None":
        async with self._search:
            found = self._opened(address)
            if found is None:  # a search takes 13 us for each connection of the process
                self._descriptors = await asyncio.to_thread(_all)
                found = self._opened(address)
            if found is not None:
                found.users += 1
            return found

    def _opened(self, address: str) -> "SendQueue | None":
        queue = self._open.get(address)
        if queue is None or not queue.is_of(address):
            connection = _opened(self._descriptors.get(address, -1), address)
            if connection is None:
                return None
            queue = self._open[address] = SendQueue(connection)
        return queue

    def _release(self, address: str, queue: "SendQueue") -> None:
        queue.users -= 1
        if not queue.users:
            queue.close()
            if self._open.get(address) is queue:
                del self._open[address]


class SendQueue:
    """The send queue of one connection.

    Args:
        connection: a duplicate of gRPC's socket.

    Attributes:
        users: the number of calls that use it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.users = 0

    def is_of(self, address: str) -> bool:
        """Whether it still is the connection of this peer; see `_peer_name`."""
        with contextlib.suppress(OSError):
            return _peer_name(self._connection) == address
        return False

    def close(self) -> None:
        """Close the duplicate."""
        self._connection.close()

    def is_empty(self) -> bool:
        """Whether the peer's host has acknowledged everything, and has space for a status; true if it is closed."""
        state, unacknowledged, window = self.facts()
        return state == _TCP_CLOSE or (not unacknowledged and window >= LEAST_WINDOW)

    def facts(self) -> tuple[int, int, int]:
        """Return the kernel's state of the connection, the bytes that are not acknowledged, and the peer's window."""
        try:
            facts = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WINDOW_OFFSET + _INT.size)
            unacknowledged = _INT.unpack(fcntl.ioctl(self._connection, termios.TIOCOUTQ, bytes(_INT.size)))[0]
        except OSError:
            return _TCP_CLOSE, 0, 0
        return facts[0], unacknowledged, _window(facts)


def _window(facts: bytes) -> int:
    """Return the peer's receive window in bytes, from struct tcp_info."""
    if len(facts) < _WINDOW_OFFSET + _INT.size:  # an older kernel
        return LEAST_WINDOW
    return int.from_bytes(facts[_WINDOW_OFFSET:], sys.byteorder)


def _address(peer: str) -> str:
    """Return the address of the peer in the form of `_peer_of`: without the interface of a link-local address."""
    host = caller_of(peer)[0].partition("%")[0]
    return f"{host} {peer.rpartition(':')[2]}"


def _all() -> dict[str, int]:
    """Return the file descriptor of each TCP connection, by the address of its peer."""
    try:
        numbers = [int(entry.name) for entry in _DESCRIPTORS.iterdir()]
    except OSError:
        return {}
    peers = {number: _peer_of(number) for number in numbers}
    return {peer: number for number, peer in peers.items() if peer}


def _peer_of(number: int) -> str:
    with contextlib.suppress(OSError), _duplicate(number) as connection:
        return _peer_name(connection)
    return ""


def _opened(number: int, address: str) -> socket.socket | None:
    """Duplicate the socket of this file descriptor; None if it has another peer, or none."""
    with contextlib.suppress(OSError):
        connection = _duplicate(number)
        with contextlib.suppress(OSError):
            if _peer_name(connection) == address:
                return connection
        connection.close()
    return None


def _peer_name(connection: socket.socket) -> str:
    name = connection.getpeername()
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return ""
    return f"{name[0].removeprefix('::ffff:')} {name[1]}"


def _duplicate(number: int) -> socket.socket:
    """Duplicate a socket: gRPC may close its own at any time.

    Raises:
        OSError: it is none.
    """
    if number < 0 or not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise OSError
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
