"""A TCP proxy that simulates network faults, separately for each direction."""

import asyncio
import contextlib
import dataclasses
import socket
import struct
from collections.abc import AsyncGenerator

from tests.support.tcp_server import tcp_server

_CHUNK = 1 << 16


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Make the close of this connection a reset."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class Toxics:
    """Faults of one direction.

    Attributes:
        latency: delay of each piece in seconds.
        bandwidth: bytes a second; None for no limit.
        slices: size of the pieces in bytes; None keeps the pieces as received.
        black_hole: bytes are dropped without an error.
        cut_after: bytes after which the connection is closed in order.
        reset_after: bytes after which it is reset.
    """

    latency: float = 0.0
    bandwidth: float | None = None
    slices: int | None = None
    black_hole: bool = False
    cut_after: int | None = None
    reset_after: int | None = None


CLEAN = Toxics()


class Proxy:
    """A proxy for `port`; `up` is for bytes of callers, `down` for replies. Both may change at any time."""

    def __init__(self, port: int, up: Toxics = CLEAN, down: Toxics = CLEAN) -> None:
        self._behind = port
        self.up, self.down = up, down
        self.port = 0
        self.open = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Proxy"]:
        async with tcp_server(self._serve) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        up = asyncio.create_task(self._pass(reader, far_writer, "up"))
        down = asyncio.create_task(self._pass(far_reader, writer, "down"))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            for side in (writer, far_writer):
                if (up if up.done() else down).result():
                    reset_on_close(side.transport)
        finally:
            self.open -= 1
            for pump in (up, down):
                pump.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for side in (writer, far_writer):
                side.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> bool:
        """Pass bytes on until the connection ends; return whether it is to be reset."""
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                toxics: Toxics = getattr(self, direction)
                limits = [limit for limit in (toxics.cut_after, toxics.reset_after) if limit is not None]
                data = data[: max(0, min(limits) - passed)] if limits else data
                await _trickle(data, writer, toxics)
                passed += len(data)
                if limits and passed >= min(limits):
                    return passed == toxics.reset_after
        return False


async def _trickle(data: bytes, writer: asyncio.StreamWriter, toxics: Toxics) -> None:
    if toxics.black_hole:
        return
    await asyncio.sleep(toxics.latency)
    size = toxics.slices or len(data) or 1
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        writer.write(piece)
        await writer.drain()
        if toxics.bandwidth is not None:
            await asyncio.sleep(len(piece) / toxics.bandwidth)
        elif toxics.slices is not None:
            await asyncio.sleep(0)
