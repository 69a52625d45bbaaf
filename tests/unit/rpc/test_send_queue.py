"""The send queue of a connection: found by the peer, and empty once the peer's host has everything."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Generator

import pytest

from embedwire_server.rpc.send_queue import SendQueues
from tests.support.ports import held_port
from tests.support.serving import until

HOSTS = pytest.mark.parametrize(
    ("family", "host", "connect"),
    [
        (socket.AF_INET, "127.0.0.1", ("127.0.0.1", "ipv4:127.0.0.1")),
        (socket.AF_INET6, "::1", ("::1", "ipv6:%5B::1%5D")),
        (socket.AF_INET6, "::", ("127.0.0.1", "ipv4:127.0.0.1")),
    ],
    ids=["IPv4", "IPv6", "IPv4-mapped"],
)


@contextlib.contextmanager
def connected(
    family: int, host: str, connect: str, own_port: int = 0
) -> Generator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection: the server's, and that of a client with a small receive buffer."""
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, 0))
        listener.listen()
        with socket.socket(socket.AF_INET6 if ":" in connect else socket.AF_INET) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
            if own_port:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind((connect, own_port))
            client.connect((connect, listener.getsockname()[1]))
            server, _ = listener.accept()
            with server:
                yield server, client


def descriptors(connection: socket.socket) -> int:
    """The number of file descriptors of this process for a connection. Those for others come and go meanwhile."""
    wanted, found = os.fstat(connection.fileno()), 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.path.samestat(os.fstat(int(number)), wanted)
    return found


@HOSTS
async def test_a_queue_is_empty_once_the_peer_has_read(family: int, host: str, connect: tuple[str, str]) -> None:
    """It is not empty while the peer reads nothing, and is once the peer has read."""
    with connected(family, host, connect[0]) as (server, client):
        peer = f"{connect[1]}:{client.getsockname()[1]}"
        server.sendall(bytes(100_000))
        async with SendQueues().of(peer) as queue:
            assert queue is not None
            assert not queue.is_empty()
            await asyncio.to_thread(client.recv, 100_000, socket.MSG_WAITALL)
            await until(queue.is_empty)


async def test_a_scoped_address_is_found() -> None:
    """A link-local peer is found, although only its name in gRPC contains the interface."""
    with connected(socket.AF_INET6, "::1", "::1") as (_, client):
        for scope in ("%25eth0", "%252"):
            async with SendQueues().of(f"ipv6:%5B::1{scope}%5D:{client.getsockname()[1]}") as queue:
                assert queue is not None


async def test_calls_of_a_connection_share_a_descriptor() -> None:
    """Waiting calls need one descriptor for each connection, until the last one of them ends."""
    queues = SendQueues()
    with connected(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (server, client):
        peer = f"ipv4:127.0.0.1:{client.getsockname()[1]}"
        async with queues.of(peer) as first:
            async with contextlib.AsyncExitStack() as stack:
                opened = await asyncio.gather(*(stack.enter_async_context(queues.of(peer)) for _ in range(50)))
                assert {*opened} == {first}
                assert descriptors(server) == 2
            assert first is not None
            assert first.is_empty()
        assert descriptors(server) == 1
        async with queues.of(peer) as again:
            assert again is not None


async def test_a_new_connection_of_the_same_peer() -> None:
    """A connection that has been closed while calls wait is not taken for a later one with the same address."""
    queues = SendQueues()
    with held_port() as port, connected(socket.AF_INET, "127.0.0.1", "127.0.0.1", port) as (server, client):
        peer, own = f"ipv4:127.0.0.1:{port}", client.getsockname()
        async with queues.of(peer) as first:
            server.shutdown(socket.SHUT_RDWR)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            server.close()
            with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as second:
                second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                second.bind(own)
                second.connect(listener.getsockname())
                with listener.accept()[0]:
                    async with queues.of(peer) as other:
                        assert other is not None
                        assert other is not first


async def test_a_closed_connection_has_an_empty_queue() -> None:
    """After a reset nothing is waited for."""
    with connected(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (server, client):
        server.sendall(bytes(100_000))
        async with SendQueues().of(f"ipv4:127.0.0.1:{client.getsockname()[1]}") as queue:
            client.close()  # with unread data: a reset
            assert queue is not None
            assert queue.is_empty()


async def test_another_peer_is_not_found() -> None:
    """A peer without a connection has no queue, also if the descriptor of a former connection has another peer."""
    queues = SendQueues()
    with connected(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (server, client):
        peer, number = f"ipv4:127.0.0.1:{client.getsockname()[1]}", server.fileno()
        async with queues.of(peer) as queue:
            assert queue is not None
    with connected(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (other, _):
        assert other.fileno() == number
        async with queues.of(peer) as queue:
            assert queue is None
    for name in ("unix:", "unix:/run/a.sock", "unix-abstract:a", ""):
        async with queues.of(name) as queue:
            assert queue is None
