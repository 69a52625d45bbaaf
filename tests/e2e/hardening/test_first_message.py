"""Calls whose first message does not arrive."""

from collections.abc import AsyncGenerator

import grpc
import pytest

from embedwire_server.rpc import deadline
from embedwire_server.rpc.server_options import ServerOptions
from tests.e2e.hardening.support import RAW, UNARY, bare
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.messages import failed
from tests.support.serving import Served, until


@pytest.mark.parametrize("sent", [0, 3, 40], ids=["nothing", "part-of-a-length", "part-of-a-message"])
async def test_waiting_for_the_first_message_ends_with_the_deadline(sent: int) -> None:
    """Waiting for the first message is limited by the call's deadline, and counted in the metrics."""
    part = message(bytes(1000))[:sent]
    ended = {"grpc_service": "embedwire.v1.EmbeddingService", "grpc_method": "CreateEmbeddingUnary"}
    ended |= {"grpc_type": "unary", "grpc_code": "DEADLINE_EXCEEDED"}
    rules = ServerOptions(deadlines=deadline.DefaultDeadlines(text=0.2))
    async with bare(rules) as (target, metrics), Connection.open(target) as connection:
        await connection.send(call(UNARY, 1), frame(http2.DATA, part, stream=1))
        assert await connection.until(http2.HEADERS) is not None
        await until(lambda: metrics.registry.get_sample_value("grpc_server_handled_total", ended) == 1)


async def test_a_call_without_its_message_is_invalid(served: Served) -> None:
    """A unary call without a message fails with INVALID_ARGUMENT, instead of waiting for its deadline."""

    async def nothing() -> AsyncGenerator[bytes]:
        return
        yield b""

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.stream_unary(UNARY, **RAW)(nothing(), timeout=60)

    assert failed(caught.value).info.reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("method", ["CreateEmbedding", "CreateEmbeddingUnary", "CreateEmbeddingFromUpload"])
async def test_a_call_reset_before_its_first_message_is_cancelled(served: Served, method: str) -> None:
    """A call that is reset before its message has arrived counts as cancelled, not as invalid."""
    async with http2.Connection.open(served.app.target) as connection:
        await connection.send(call(f"/embedwire.v1.EmbeddingService/{method}", 1))
        await until(lambda: served.metric("grpc_server_started_total", grpc_method=method) == 1)
        await connection.send(frame(http2.RST_STREAM, (8).to_bytes(4, "big"), stream=1))
        await until(lambda: served.metric("grpc_server_handled_total", grpc_method=method) == 1)
    assert served.metric("embedwire_requests_total", method=method, reason="CANCELLED") == 1
