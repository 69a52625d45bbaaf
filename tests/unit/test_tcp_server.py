"""The TCP server of tests leaves no connection open."""

import asyncio
import gc
import socket
import warnings

import pytest

from tests.support.tcp_server import tcp_server


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)


@pytest.mark.parametrize("iterations", range(12))
def test_every_connection_is_closed(iterations: int) -> None:
    """A connection is closed by the end, in whatever iteration of the event loop after its arrival that is."""

    async def connect() -> None:
        async with tcp_server(echo) as port:
            with socket.create_connection(("127.0.0.1", port), timeout=10):
                for _ in range(iterations):
                    await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(connect())
        gc.collect()
    assert [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)] == []
