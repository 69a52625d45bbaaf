"""Reports of failed connections to the upstream: status, metrics, log, retries."""

import asyncio
import re

import grpc
import pytest

from embedwire.v1 import embedding_pb2
from embedwire_server.core.failure_causes import WORDS, Cause
from tests.e2e.causes_support import listening, says, self_signed
from tests.support.messages import failed, request, results, text_input
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Serve, Served
from tests.support.upstreams import Visit


async def failure_at(served: Served, *inputs: embedding_pb2.Input) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in served.stub.CreateEmbedding(request(*(inputs or (text_input(),))), timeout=25):
            pass
    return caught.value


@pytest.mark.asyncio
@pytest.mark.parametrize("cause", [Cause.CERTIFICATE_SELF_SIGNED, Cause.TLS_TO_PLAINTEXT_PORT])
async def test_a_permanent_cause_is_not_retried(serve: Serve, cause: Cause, capfd: pytest.CaptureFixture[str]) -> None:
    """One connection is attempted, no retry is made or budgeted, and status, metric and log name the cause."""
    context = self_signed() if cause is Cause.CERTIFICATE_SELF_SIGNED else None
    tried = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        await says(b"HTTP/1.1 400 Bad Request\r\n\r\n")(reader, writer)

    async with listening(count, context) as port, serve(upstream=f"https://localhost:{port}") as served:
        budget = served.metric("embedwire_retry_budget_tokens")
        failure = failed(await failure_at(served))
        assert served.metric("embedwire_upstream_connection_failures_total", cause=cause) == 1
        assert served.metric("embedwire_upstream_connection_failures_total") == 1
        assert served.metric("embedwire_upstream_requests_total") == 0
        assert served.metric("embedwire_retries_total") == 0
        assert served.metric("embedwire_retry_budget_tokens") == budget

    assert tried == (0 if context else 1)  # a handshake that fails does not reach the script
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
    assert (failure.failure.cause, failure.failure.attempts) == (cause, 0)
    assert failure.message == WORDS[cause]
    log = re.sub(r"\x1b\[[0-9;]*m", "", "".join(capfd.readouterr()))
    assert len(re.findall(rf"upstream request failed .*cause={cause}", log)) == 1
    assert len(re.findall(rf"\] call .*cause={cause}", log)) == 1


@pytest.mark.asyncio
async def test_many_failures_are_one_log_line(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """Many failures of one cause are each counted and rarely logged; each input's failure has the cause."""
    async with serve(upstream=f"http://{NO_SERVER}", retry_max_attempts=1) as served:
        asked = request(*(text_input() for _ in range(100)))
        done = results([event async for event in served.stub.CreateEmbedding(asked, timeout=25)])
        assert served.metric("embedwire_upstream_connection_failures_total", cause="connection_refused") == 100

    assert {(result.failure.cause, result.attempts) for result in done.values()} == {("connection_refused", 0)}
    assert "".join(capfd.readouterr()).count("upstream request failed") == 1


@pytest.mark.asyncio
async def test_other_failures_have_no_cause(scripted: Scripted) -> None:
    """An HTTP error of the upstream has no connection cause."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"", 503)

    async with scripted(script, retry_max_attempts=1) as (served, _):
        failure = failed(await failure_at(served))
        assert served.metric("embedwire_upstream_connection_failures_total") == 0
    assert not failure.failure.cause
    assert failure.failure.attempts == 1


@pytest.mark.asyncio
async def test_the_trace_id_of_the_upstream(scripted: Scripted, capfd: pytest.CaptureFixture[str]) -> None:
    """The x-trace-id of an error response is in the status and in the log line of the call."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"", 503, **{"X-Trace-Id": "5f0c1e"})

    async with scripted(script, retry_max_attempts=1) as (served, _):
        failure = failed(await failure_at(served))
    assert failure.failure.upstream_error.trace_id == "5f0c1e"
    log = re.sub(r"\x1b\[[0-9;]*m", "", "".join(capfd.readouterr()))
    assert len(re.findall(r"\] call .*upstream_trace_id=5f0c1e", log)) == 1
