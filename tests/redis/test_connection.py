"""The connection to Redis: time limit, failures of every kind, recovery, and replies that belong to their commands."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import uvloop
from redis.asyncio import Redis

from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.redis_connection import MAX_CONNECTIONS, RedisConnection, RedisUnavailable
from tests.support.pki import Files
from tests.support.ports import NO_SERVER
from tests.support.redis import RedisServer
from tests.support.tcp_server import tcp_server

LONGEST = 5.0  # on a busy machine
T = TypeVar("T")


@contextlib.asynccontextmanager
async def connected(url: RedisUrl | str) -> AsyncGenerator[RedisConnection]:
    connection = RedisConnection(url if isinstance(url, RedisUrl) else RedisUrl(url), "quota", Metrics("custom"))
    async with connection.running():
        yield connection


async def recovered(connection: RedisConnection) -> None:
    async with asyncio.timeout(60):
        while not connection.is_available:
            await asyncio.sleep(0.01)


async def lasting(connection: RedisConnection, operation: Callable[[Redis], Awaitable[T]]) -> T:
    """Run an operation on a server that works; a busy machine may be too slow for the time limit."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(RedisUnavailable):
                return await connection.run(operation)
            await recovered(connection)


async def refused(connection: RedisConnection, operation: Callable[[Redis], Awaitable[Any]]) -> RedisUnavailable:
    with pytest.raises(RedisUnavailable) as caught:
        await connection.run(operation)
    return caught.value


async def test_tcp_and_unix_sockets_with_databases(server: RedisServer) -> None:
    """Operations work over TCP and a Unix socket, in the database of the URL."""
    async with connected(server.url) as tcp, connected(f"{server.socket_text}?db=3") as unix:
        await lasting(tcp, lambda redis: redis.set("a", "1"))
        assert await lasting(unix, lambda redis: redis.get("a")) is None
        await lasting(unix, lambda redis: redis.set("a", "3"))
    async with connected(server.text.replace("/0", "/3")) as third:
        assert await lasting(third, lambda redis: redis.get("a")) == b"3"


async def test_users_and_passwords(server: RedisServer) -> None:
    """A user with a percent-encoded password is accepted, a wrong password is not, and no text has either."""
    await server.command("ACL", "SETUSER", "em", "on", ">s@cr/t:1", "~*", "+@all")
    place = f"@127.0.0.1:{server.port}"
    async with connected(f"redis://em:s%40cr%2Ft%3A1{place}") as connection:
        assert await lasting(connection, lambda redis: redis.acl_whoami()) in {b"em", "em"}
    with structlog.testing.capture_logs() as lines:
        async with connected(f"redis://em:s%40cr%2Ft%3A2{place}") as connection:
            assert not connection.is_available
            error = await refused(connection, lambda redis: redis.get("a"))
    assert "%40cr" not in f"{lines}{error!r}{error}"
    assert lines[0]["error"] == "AuthenticationError"


async def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of an authority in SSL_CERT_FILE is accepted; another one is not, nor one for another name."""
    files = Files(tmp_path)
    async with RedisServer.running(files, requirepass="secret") as server:
        async with connected(server.url) as connection:
            assert not connection.is_available
        (tmp_path / "ca.pem").write_bytes(files.authority.cert_pem.bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with connected(server.url) as connection:
            await recovered(connection)
            assert await lasting(connection, lambda redis: redis.ping())
        async with connected(server.text.replace("127.0.0.1", "127.0.0.2")) as connection:
            assert not connection.is_available


async def test_a_hanging_server_does_not_delay(server: RedisServer) -> None:
    """An operation on a server that hangs fails in time, further ones fail immediately, and it recovers."""
    async with connected(server.url) as connection:
        await recovered(connection)
        server.pause()
        began = time.monotonic()
        await asyncio.gather(*(refused(connection, lambda redis: redis.get("a")) for _ in range(50)))
        assert time.monotonic() - began < LONGEST
        sent: list[int] = []

        async def count(_: Redis) -> None:
            sent.append(1)

        await refused(connection, count)
        assert not sent
        server.resume()
        await recovered(connection)
        assert await lasting(connection, lambda redis: redis.ping())


async def test_many_operations_at_once(server: RedisServer) -> None:
    """Operations that wait too long for a connection fail, but Redis stays available: it was not asked."""

    async def slow(_: Redis) -> None:
        await asyncio.sleep(0.03)  # three in sequence exceed the time limit

    async with connected(server.url) as connection, asyncio.timeout(60):
        while True:  # the machine may be too slow for the first ones as well
            await recovered(connection)
            calls = [connection.run(slow) for _ in range(3 * MAX_CONNECTIONS)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            if connection.is_available:
                break
    assert {type(outcome) for outcome in outcomes} == {type(None), RedisUnavailable}


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_reply_is_taken_for_another(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """After operations that timed out or were cancelled, each command gets its own reply, and no connection is lost."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_lost_replies())


async def _lost_replies() -> None:
    async with RedisServer.running() as server, connected(server.url) as connection:
        for _ in range(3):
            await recovered(connection)
            await _cancelled_commands(connection)
            server.pause()
            await asyncio.gather(*(_echo(connection, f"lost {n}") for n in range(50)), return_exceptions=True)
            server.resume()
            await recovered(connection)
            texts = [f"new {n}" for n in range(200)]
            replies = await asyncio.gather(*(_echo(connection, text) for text in texts), return_exceptions=True)
            assert {type(one) for one in replies} <= {str, RedisUnavailable}
            assert all(reply == text for reply, text in zip(replies, texts, strict=True) if isinstance(reply, str))
        clients = await server.command("CLIENT", "LIST", "TYPE", "normal")
        assert len(clients.splitlines()) <= MAX_CONNECTIONS + 1  # redis-cli


async def _cancelled_commands(connection: RedisConnection) -> None:
    """Cancel commands at various moments between the start and the reply."""
    for steps in range(20):
        running = [asyncio.create_task(_echo(connection, f"old {n}")) for n in range(MAX_CONNECTIONS)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in running[::2]:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _echo(connection: RedisConnection, text: str) -> str:
    reply = await connection.run(lambda redis: redis.echo(text))
    assert isinstance(reply, bytes)
    return reply.decode()


async def test_a_crash_and_a_restart(server: RedisServer) -> None:
    """A server that crashes makes operations fail; they work again after its restart."""
    async with connected(server.url) as connection:
        await lasting(connection, lambda redis: redis.ping())
        await server.kill()
        await refused(connection, lambda redis: redis.get("a"))
        await server.start()
        await recovered(connection)
        assert await lasting(connection, lambda redis: redis.get("a")) is None


async def test_no_server_at_the_start() -> None:
    """Without a server, everything starts, fails fast, and says so once."""
    with structlog.testing.capture_logs() as lines:
        async with connected(f"redis://:secret@{NO_SERVER}") as connection:
            error = await refused(connection, lambda redis: redis.get("a"))
    assert [line["event"] for line in lines] == ["Redis is unavailable: this server works without it"]
    assert lines[0]["reason"] == "connection"
    assert "secret" not in f"{lines}{error!r}{error.__cause__!r}"


REJECTED = [
    (["CONFIG", "SET", "maxmemory", "1"], "full"),
    (["REPLICAOF", "127.0.0.1", "1"], "other"),
    (["LPUSH", "a", "1"], "other"),
    (["ACL", "SETUSER", "default", "-getset"], "other"),
]


@pytest.mark.parametrize(("command", "reason"), REJECTED)
async def test_errors_of_the_server(server: RedisServer, command: list[str], reason: str) -> None:
    """A full server, a read-only one, a value of another type and a missing permission make an operation fail."""
    metrics = Metrics("custom")
    connection = RedisConnection(server.url, "cache", metrics)
    async with connection.running():
        await recovered(connection)
        await server.command(*command)
        labels = {"use": "cache", "reason": reason}
        async with asyncio.timeout(60):
            while not metrics.registry.get_sample_value("embedwire_redis_errors_total", labels):
                await recovered(connection)  # a busy machine may have been too slow for the time limit
                await refused(connection, lambda redis: redis.getset("a", "1"))


async def test_metrics(server: RedisServer) -> None:
    """Metrics show whether Redis is available, the operations that succeeded, and those that failed."""
    metrics = Metrics("custom")
    read = metrics.registry.get_sample_value
    connection = RedisConnection(server.url, "cache", metrics)
    assert read("embedwire_redis_up", {"use": "cache"}) == 0
    async with connection.running():
        await lasting(connection, lambda redis: redis.ping())
        assert read("embedwire_redis_up", {"use": "cache"}) == 1
        assert read("embedwire_redis_operation_seconds_count", {"use": "cache"}) == 1
        server.pause()
        await refused(connection, lambda redis: redis.ping())
        server.resume()
        assert read("embedwire_redis_up", {"use": "cache"}) == 0
        assert read("embedwire_redis_errors_total", {"use": "cache", "reason": "timeout"})


async def test_a_peer_that_is_not_redis() -> None:
    """A peer that answers garbage makes operations fail like any other fault."""
    for reply in (b":abc\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$99999999999\r\n", b""):

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: bytes = reply) -> None:
            writer.write(reply)
            await reader.read(1)
            writer.close()

        async with tcp_server(answer) as port, connected(f"redis://127.0.0.1:{port}") as connection:
            await refused(connection, lambda redis: redis.get("a"))


async def test_concurrent_operations_do_not_wait_for_each_other(server: RedisServer) -> None:
    """A blocking operation delays no other one."""
    async with connected(server.url) as connection:
        async with asyncio.timeout(60):
            while not await is_answered_beside_a_blocked_one(connection):
                await recovered(connection)  # the machine may be too slow for the time limit


async def is_answered_beside_a_blocked_one(connection: RedisConnection) -> bool:
    """Whether an operation succeeds while a blocking one that began before it has not ended."""
    await recovered(connection)
    blocked = asyncio.create_task(refused(connection, lambda redis: redis.blpop("none")))
    await asyncio.sleep(0)
    with contextlib.suppress(RedisUnavailable):
        await connection.run(lambda redis: redis.ping())
        if not blocked.done():
            await blocked
            return True
    await blocked
    return False


async def test_a_blocked_event_loop_is_no_fault_of_redis(server: RedisServer) -> None:
    """An operation succeeds if the reply arrives while the event loop is blocked for longer than the time limit."""
    async with connected(server.url) as connection:
        await recovered(connection)
        running = asyncio.create_task(connection.run(lambda redis: redis.ping()))
        await asyncio.sleep(0)  # the request is sent
        time.sleep(0.5)  # noqa: ASYNC251 - blocks it
        assert await running


async def test_names_are_looked_up(server: RedisServer) -> None:
    """A host name is looked up; one that does not exist is a failure."""
    async with connected(f"redis://localhost:{server.port}") as connection:
        assert await lasting(connection, lambda redis: redis.ping())
    async with connected("redis://redis.invalid") as connection:
        await refused(connection, lambda redis: redis.ping())
