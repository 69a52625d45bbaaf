"""Clients that are closed, and copies of clients."""

import asyncio
import copy
import pickle
from typing import Any

import pytest

from embedwire import TLS, AsyncClient, Audio, Client, ClosedError, Text
from tests.e2e.client.callers import PICTURE, Connect, taken
from tests.e2e.client.services import Recorder
from tests.support.ports import NO_SERVER
from tests.support.serving import Served


async def test_a_closed_client_fails_at_once(connect: Connect, served: Served) -> None:
    """Every call of a closed client, used or not, raises ClosedError, a RuntimeError that says so."""
    for is_used in (True, False):
        async with connect(served.app.target) as client:
            if is_used:
                await client.embed("marengo3.0", Text("a"), timeout=10)
            unread = await client.stream("marengo3.0", PICTURE) if client.is_async else None
            await client.close()
            await client.close()
            for asked in (Text("a"), PICTURE, Audio(chunks=[b"a"])):
                with pytest.raises(ClosedError, match="the client is closed"):
                    await client.embed("marengo3.0", asked)
                with pytest.raises(ClosedError):
                    await client.stream("marengo3.0", asked)
            with pytest.raises(ClosedError):
                await client.models()
            with pytest.raises(ClosedError):
                client.map("marengo3.0", [Text("a")])
            if unread is not None:
                with pytest.raises(ClosedError):
                    await taken(unread)
    assert issubclass(ClosedError, RuntimeError)


async def test_a_client_that_is_closed_while_calls_begin(connect: Connect) -> None:
    """Calls that begin while their client is closed end with an exception of this package."""
    recorder = Recorder()
    async with recorder.serving() as target:
        for _ in range(5):
            async with connect(target) as client:
                calls = [asyncio.create_task(client.embed("m", asked)) for asked in [Text("a"), PICTURE] * 4]
                await asyncio.sleep(0)
                await client.close()
                found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
            for each in found:
                if isinstance(each, BaseException):
                    assert type(each).__module__.startswith("embedwire.")


ARGUMENTS: dict[str, Any] = {
    "tls": TLS(server_name="embeddings.internal"),
    "token": "t0ken",
    "upstream_api_key": "key",
    "timeout": 3.0,
    "wait_for_ready": True,
    "retry_on_pushback": False,
    "channels": 2,
    "keepalive_time": None,
    "channel_options": [("grpc.max_receive_message_length", 1 << 20)],
}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_can_be_pickled(kind: type[Any]) -> None:
    """Pickle and copy give a client with the same arguments, also of a client that is closed."""
    client = kind(NO_SERVER, **ARGUMENTS)
    for other in (pickle.loads(pickle.dumps(client)), copy.copy(client)):
        assert type(other) is kind
        assert vars(other)["_connection"] == vars(client)["_connection"]
        assert vars(other)["_connection"].arguments == {"target": NO_SERVER, "interceptors": (), **ARGUMENTS}


async def test_a_pickled_client_works(connect: Connect, served: Served) -> None:
    """A copy has connections of its own: closing the original does not disturb it."""
    async with connect(served.app.target) as client:
        inside: Any = client
        await client.embed("marengo3.0", Text("a"), timeout=10)
        other = pickle.loads(pickle.dumps(inside.client))
        await client.close()
        call = other.embed("marengo3.0", Text("a"), timeout=10) if client.is_async else None
        embedding = await call if call else await asyncio.to_thread(other.embed, "marengo3.0", Text("a"), timeout=10)
        assert embedding.failure is None
        await other.close() if client.is_async else other.close()
