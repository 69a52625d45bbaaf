"""Server interceptors around a call: default deadlines and unexpected exceptions."""

import asyncio
import collections
import contextlib
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import DeadlineExceeded
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import ModelTable
from embedwire_server.core.results import Segment
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import server as rpc_server
from embedwire_server.rpc.call_context import Call
from embedwire_server.rpc.deadline import DefaultDeadlines
from embedwire_server.rpc.decode import RequestReader
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.list_models import Catalog
from embedwire_server.rpc.server_options import ServerOptions
from embedwire_server.rpc.service import EmbeddingServicer
from embedwire_server.rpc.services import ACCEPT_LOOPS, HEALTH_ACCEPT_LOOPS
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import Upstream
from tests.support.messages import failed, request, results, text_input, url_input
from tests.support.serving import EVERYWHERE, Scripted, Serve, Served, until
from tests.support.upstreams import Visit, reply
from tests.support.virtual_time import in_virtual_time, now


def a_call(remaining: float | None) -> Call:
    return Call("id", "service", remaining, DefaultDeadlines(), 30.0, is_ours=True)


async def test_a_call_without_a_deadline_gets_one() -> None:
    """A call without a deadline gets 60 seconds, or 600 with audio; a caller's own deadline is kept."""
    now = asyncio.get_running_loop().time()
    silent, asked = a_call(None), a_call(5)

    assert silent.deadline == pytest.approx(now + 60, abs=1)
    with silent:
        silent.allow_for_audio()
    assert silent.deadline == pytest.approx(now + 600, abs=1)
    with asked:
        asked.allow_for_audio()
    assert asked.deadline == pytest.approx(now + 5, abs=1)


@in_virtual_time
async def test_the_longer_deadline_holds_also_once_it_runs() -> None:
    """A running deadline is extended when the request turns out to have audio, and still ends the call."""
    call = a_call(None)

    async def run() -> None:
        with call:
            await asyncio.sleep(59)
            call.allow_for_audio()
            await asyncio.sleep(10_000)

    with pytest.raises(DeadlineExceeded):
        await run()
    assert now() == pytest.approx(600, abs=0.01)


async def test_a_timeout_error_of_a_handler_is_not_the_deadline() -> None:
    """A TimeoutError of a handler itself is not mistaken for the call's deadline."""
    with pytest.raises(TimeoutError), a_call(60):
        raise TimeoutError


async def broken(attempt: Attempt) -> None:
    """Raise an unexpected exception with a text that must stay secret, or leak a cancellation."""
    await attempt.emit([Segment(b"\0" * 2048)])
    if getattr(attempt.call.input, "value", "") == "leak":
        raise asyncio.CancelledError
    raise RuntimeError("CANARY in the text of an exception")


@contextlib.asynccontextmanager
async def serving(upstream: Upstream, deadlines: DefaultDeadlines | None = None) -> AsyncGenerator[Any]:
    """The gRPC service on an upstream in memory; the stub that calls it."""
    metrics = Metrics("sandbox")
    models, limits = ModelTable(), Limits()
    servicer = EmbeddingServicer(
        Gateway(upstream, LoadShedder(metrics, in_flight=4, queued=4, content_bytes=1 << 20), metrics, 4),
        RequestReader(models, limits, 4, ContentMemory(1 << 20)),
        Catalog(models, limits),
    )
    rules = ServerOptions(max_message_bytes=1 << 20, deadlines=deadlines or DefaultDeadlines())
    server = rpc_server.build(servicer, HealthServicer(), metrics, "sandbox", rules)
    port = server.listen("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield embedding_pb2_grpc.EmbeddingServiceStub(channel)
        finally:
            await server.stop(0)


@pytest.mark.parametrize("text", ["raise", "leak"])
async def test_an_unexpected_exception_is_internal_without_its_message(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception is INTERNAL, with a constant text; the log has type, place and request id, no message."""
    async with serving(ScriptedUpstream(broken)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.CreateEmbedding(
                request(text_input(text)), timeout=9, metadata=[("x-request-id", "find-me")]
            ):
                pass
        several = request(text_input(text), text_input(text))
        events = [event async for event in stub.CreateEmbedding(several, timeout=60)]
    failure, log = failed(caught.value), "".join(capsys.readouterr())

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert failure.message == "internal error; the server's log has the details under this call's x-request-id"
    named = [f"inputs[{index}].text: {failure.message}" for index in range(2)]
    assert sorted(result.failure.message for result in results(events).values()) == named
    assert "test_calls.py" in log
    assert "find-me" in log
    assert "CANARY" not in log + str(failure) + str(events)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_an_unexpected_exception_has_no_message(form: str) -> None:
    """Both log formats contain type, causes and places, and no exception message, also for other libraries."""
    program = f"""
import logging
from embedwire_server.observability import exception_logging, logs
logs.configure("debug", "{form}")
try:
    try:
        raise KeyError("CANARY")
    except KeyError as error:
        raise ValueError("CANARY") from error
except ValueError as error:
    exception_logging.log_unexpected(error)
    logging.getLogger("asyncio").exception("a library complains")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)

    assert "a library complains" in ended.stderr
    for shown in ("builtins.ValueError", "KeyError", "<string>:9 <module>"):
        assert ended.stderr.count(shown) == 2
    assert "CANARY" not in ended.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_is_one_line(form: str) -> None:
    """Every event takes one line, with the time, the level, the logger and the running call's id."""
    program = f"""
import structlog
from embedwire_server.observability import logs
logs.configure("info", "{form}", worker=3)
logs.request_id.set("id-1")
structlog.get_logger("some.where").info("two\\nlines", fact="a\\nb", number=1.5)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)

    (line,) = ended.stderr.splitlines()
    for shown in ("info", "lines", "id-1", "some.where", "worker", "3", "1.5", "z"):
        assert shown in line.lower()


async def silent(attempt: Attempt) -> None:
    """Answer with one segment, and nothing more."""
    await attempt.emit([Segment(b"\0" * 2048, start_offset_sec=0.0)])


@pytest.mark.parametrize("method", ["CreateEmbedding", "CreateEmbeddingUnary"])
async def test_a_call_without_a_deadline_is_ended_by_the_server(method: str) -> None:
    """A call without a deadline is ended by the default one, with the error details, and releases all it holds."""
    upstream = ScriptedUpstream(silent)
    unary = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
    async with serving(upstream, DefaultDeadlines(text=2, audio=60)) as stub:
        is_unary = method == "CreateEmbeddingUnary"
        answer = stub.CreateEmbeddingUnary(unary) if is_unary else _take(stub.CreateEmbedding(request(text_input())))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer
        await until(lambda: upstream.running == 0, 20)
    failure = failed(caught.value)

    assert len(upstream.attempts) == 1
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_audio_gets_the_longer_default() -> None:
    """A call with audio outlives the default deadline of texts, and ends with that of audio."""
    upstream = ScriptedUpstream(silent)
    asked = request(url_input("audio", "http://media.test/a.mp3"))
    async with serving(upstream, DefaultDeadlines(text=0.1, audio=0.5)) as stub:
        began = asyncio.get_running_loop().time()
        with pytest.raises(grpc.aio.AioRpcError):
            await _take(stub.CreateEmbedding(asked))

    assert asyncio.get_running_loop().time() - began > 0.4


async def _take(call: Any) -> list[Any]:
    return [event async for event in call]


async def test_many_calls_at_once_are_all_answered(served: Served) -> None:
    """Calls beyond gRPC's own limit of pending calls, which would cancel them without details, are all answered."""
    asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
    calls = [served.stub.CreateEmbeddingUnary(asked) for _ in range(1500)]
    codes = collections.Counter([await call.code() for call in calls])

    assert codes == {grpc.StatusCode.OK: 1500}


@pytest.mark.skipif(bool(EVERYWHERE), reason="the public API has no accept loops")
async def test_several_accept_loops_per_method(serve: Serve) -> None:
    """Each method of the service has all accept loops, the health check has its own, and none outlives the server."""

    def loops() -> int:
        return sum(getattr(task.get_coro(), "__qualname__", "") == "AcceptLoops._loop" for task in asyncio.all_tasks())

    text = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
    async with serve() as served:
        assert loops() == 4 * ACCEPT_LOOPS + HEALTH_ACCEPT_LOOPS
        asked = [served.stub.CreateEmbeddingUnary(text, timeout=20) for _ in range(3 * ACCEPT_LOOPS)]
        assert [await one.code() for one in asked] == [grpc.StatusCode.OK] * 3 * ACCEPT_LOOPS
    assert loops() == 0


@pytest.mark.parametrize("method", ["CreateEmbedding", "CreateEmbeddingUnary"])
async def test_a_text_starts_no_async_generator(scripted: Scripted, method: str) -> None:
    """A call with one text starts no async generator of the server, from its arrival to its last message."""
    begun: list[str] = []

    def note(generator: Any) -> None:
        if "embedwire_server" in generator.ag_code.co_filename:
            begun.append(generator.ag_code.co_qualname)

    async def answer(visit: Visit) -> None:
        await visit.answer(reply())

    unary = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
    async with scripted(answer) as (served, _):
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=note)
        try:
            if method == "CreateEmbedding":
                assert len(await _take(served.stub.CreateEmbedding(request(text_input()), timeout=20))) == 2
            else:
                assert len((await served.stub.CreateEmbeddingUnary(unary, timeout=20)).embeddings) == 1
        finally:
            sys.set_asyncgen_hooks(*hooks)
    assert begun == []
