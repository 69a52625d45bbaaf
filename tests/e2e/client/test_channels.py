"""Channels of the client: several connections, several addresses, keepalive, and what is passed on to gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from embedwire import AsyncClient, Audio, Client, Text, TransportError
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import PICTURE, Connect, mapped, taken
from tests.e2e.client.services import Context, Recorder, service
from tests.support.ports import NO_SERVER
from tests.support.tcp_server import tcp_server


async def test_several_channels_are_several_connections(connect: Connect) -> None:
    """With channels=3 the calls of every kind use three connections in turn; by default there is one."""
    for channels, asked in ((3, {"channels": 3}), (1, {})):
        recorder = Recorder()
        async with recorder.serving() as target, connect(target, **asked) as client:
            for _ in range(3):
                await client.embed("m", Text("a"), timeout=10)
            for _ in range(3):
                await client.embed("m", PICTURE, timeout=10)
            await mapped(client.map("m", [Text("a")] * 6, inputs_per_call=1, concurrent_calls=1))
        assert len(set(recorder.peers)) == channels
        assert recorder.peers[:3] == recorder.peers[3:6]


async def test_clients_share_no_connection(connect: Connect) -> None:
    """Two clients of one process have connections of their own, so that the end of one does not disturb the other."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as one, connect(target) as other:
        for client in (one, other, one):
            await client.embed("m", Text("a"), timeout=10)
    assert recorder.peers[0] == recorder.peers[2] != recorder.peers[1]


async def test_calls_go_to_all_addresses_of_a_target(connect: Connect) -> None:
    """Of a target with two addresses both servers get calls, and the other one gets them all if one is gone."""
    first, second = Recorder(), Recorder()
    async with second.serving() as other:
        async with first.serving() as one:
            both = f"ipv4:{one},{other}"
            async with connect(both) as client:
                async with asyncio.timeout(30):
                    while not (first.requests and second.requests):
                        await client.embed("m", Text("a"))
        async with connect(both, wait_for_ready=True) as client:
            for _ in range(4):
                await client.embed("m", Text("a"), timeout=20)


@pytest.mark.parametrize("wrong", [0, -1])
def test_an_invalid_number_of_channels(wrong: int) -> None:
    """Fewer than one channel is a ValueError that names the argument."""
    with pytest.raises(ValueError, match="channels"):
        Client(NO_SERVER, channels=wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan")])
def test_an_invalid_keepalive_time(wrong: float) -> None:
    """A keepalive time that is no time is a ValueError that names the argument."""
    with pytest.raises(ValueError, match="keepalive_time"):
        AsyncClient(NO_SERVER, keepalive_time=wrong)


@contextlib.asynccontextmanager
async def black_hole(target: str) -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """A proxy that forwards until the event is set, and then loses everything, as a dead path does."""
    is_dead = asyncio.Event()
    host, _, port = target.rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if not is_dead.is_set():
                    writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        with contextlib.closing(inner_writer):
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async with tcp_server(serve) as served:
        yield f"127.0.0.1:{served}", is_dead


async def test_keepalive_finds_a_dead_connection(connect: Connect) -> None:
    """A call whose connection is dead fails long before its deadline, as TransportError."""
    is_called = asyncio.Event()

    async def create(_: Any, __: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        is_called.set()
        await asyncio.Event().wait()
        yield pb.CreateEmbeddingResponse()

    options = {"keepalive_time": 0.2, "channel_options": [("grpc.http2.ping_timeout_ms", 300)]}
    async with (
        service(CreateEmbedding=create) as target,
        black_hole(target) as (proxied, is_dead),
        connect(proxied, **options) as client,
    ):
        call = asyncio.create_task(client.embed("m", PICTURE, timeout=300))
        await is_called.wait()
        is_dead.set()
        with pytest.raises(TransportError) as caught:
            await asyncio.wait_for(call, 60)
    assert caught.value.code == "UNAVAILABLE"


def grpc_options(**arguments: Any) -> dict[str, Any]:
    return dict(vars(Client(NO_SERVER, **arguments))["_connection"].grpc_options)


def test_the_settings_of_keepalive() -> None:
    """By default a connection is pinged every 60 s while calls run, without a limit; None turns it off."""
    names = {name: value for name, value in grpc_options().items() if "keepalive" in name or "ping" in name}
    assert names == {
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.http2.ping_timeout_ms": 20_000,
    }
    assert not any("keepalive" in name or "ping" in name for name in grpc_options(keepalive_time=None))


async def test_channel_options_are_passed_on(connect: Connect) -> None:
    """Channel options of the caller reach gRPC and take precedence."""
    recorder = Recorder()
    options = [("grpc.primary_user_agent", "own/1"), ("grpc.max_receive_message_length", 10)]
    async with recorder.serving() as target, connect(target, channel_options=options) as client:
        with pytest.raises(TransportError) as caught:
            await client.embed("m", Text("a"), timeout=10)
    assert recorder.metadata[0]["user-agent"].startswith("own/1 ")
    assert caught.value.code == "RESOURCE_EXHAUSTED"


KINDS = ("unary_unary", "unary_stream", "stream_stream")


def adding_header(*, is_async: bool) -> list[Any]:
    """Interceptors that add a header to every call; grpc.aio takes one object for each kind of call."""

    def intercept(_: Any, proceed: Any, details: Any, request: Any) -> Any:
        metadata = [*details.metadata, ("x-team", "search")]
        return proceed(details._replace(metadata=metadata), request)

    async def intercept_async(_: Any, proceed: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*details.metadata, ("x-team", "search"))
        return await proceed(details._replace(metadata=metadata), request)

    module, method = (grpc.aio, intercept_async) if is_async else (grpc, intercept)
    names = {kind: "".join(map(str.title, kind.split("_"))) + "ClientInterceptor" for kind in KINDS}
    return [type("AddHeader", (getattr(module, names[kind]),), {f"intercept_{kind}": method})() for kind in KINDS]


async def test_interceptors_see_every_call(connect: Connect) -> None:
    """Interceptors of the caller see calls of every kind, and those of `map`; the answers are not disturbed."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as plain:
        chosen = adding_header(is_async=plain.is_async)
        async with connect(target, interceptors=chosen, channels=2) as client:
            assert (await client.embed("m", Text("a"), timeout=10)).vector.tolist() == [1.0, 2.0]
            assert len(await client.embed("m", [Text("a"), Text("b")], timeout=10)) == 2
            assert (await client.embed("m", Audio(chunks=[b"a", b"b"]), timeout=10)).failure is None
            assert len(await taken(await client.stream("m", PICTURE, timeout=10))) == 2
            assert len(await mapped(client.map("m", [Text("a"), Audio(chunks=[b"c"])]))) == 2
            assert (await client.models(timeout=10))[0].name == "m"

    assert [metadata.get("x-team") for metadata in recorder.metadata] == ["search"] * 7
    assert all(metadata["user-agent"].startswith("embedwire-python/") for metadata in recorder.metadata)


async def test_failures_pass_through_interceptors(connect: Connect) -> None:
    """A failed call has the same status behind an interceptor, also an upload that the server ends early."""
    found = set()
    async with service() as target, connect(target) as plain:
        for _ in range(15):  # whether a write fails before the status is read is a race
            async with connect(target, interceptors=adding_header(is_async=plain.is_async)) as client:
                for asked in (Text("a"), PICTURE, Audio(chunks=[b"a"])):
                    with pytest.raises(TransportError) as caught:
                        await client.embed("m", asked, timeout=10)
                    found.add(caught.value.code)
    assert found == {"UNIMPLEMENTED"}
