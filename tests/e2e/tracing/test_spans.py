"""The spans of calls, inputs and requests to the upstream."""

import asyncio
import contextlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.embed_v2.support import file_of, from_source, on, outcome, upload
from tests.e2e.policies.support import Steps
from tests.e2e.tracing.conftest import Traced
from tests.e2e.tracing.support import ATTEMPT, CALL, CALLERS_SPAN, INPUT, PARENT, STATE, TRACE_ID, embed, fail
from tests.support.media import padded_wav, wav
from tests.support.messages import file_input, request, text_input, url_input
from tests.support.otlp import Receiver
from tests.support.uploads import ASSET_BYTES, TASK, audio
from tests.support.upstreams import Visit, answer, reply


async def test_a_call_is_a_tree_of_three_spans(traced: Traced, receiver: Receiver) -> None:
    """The caller's span contains that of the call, with that of its input, with that of the request to the upstream."""
    headers = []

    async def script(visit: Visit) -> None:
        headers.append(visit.headers)
        await visit.answer(reply())

    async with traced(script) as served:
        await embed(served, parent=PARENT)
        await receiver.received(3)

    (call,), (item,), (attempt,) = map(receiver.named, (CALL, INPUT, ATTEMPT))
    assert {one.trace_id for one in receiver.spans} == {TRACE_ID}
    assert [call.parent_id, item.parent_id, attempt.parent_id] == [CALLERS_SPAN, call.span_id, item.span_id]
    kinds = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT
    assert (call.span.kind, item.span.kind, attempt.span.kind) == kinds
    assert {one.span.trace_state for one in receiver.spans} == {STATE}
    assert (headers[0]["traceparent"], headers[0]["tracestate"]) == (f"00-{TRACE_ID}-{attempt.span_id}-01", STATE)
    starts = [one.span.start_time_unix_nano for one in (call, item, attempt)]
    ends = [one.span.end_time_unix_nano for one in (attempt, item, call)]
    assert starts == sorted(starts)
    assert ends == sorted(ends)


async def test_attributes(traced: Traced, receiver: Receiver) -> None:
    """Each span has the attributes of the conventions, and the resource names the service."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply(), x_trace_id="their-id")

    async with traced(script) as served:
        await embed(served)
        await receiver.received(3)

    (call,), (item,), (attempt,) = map(receiver.named, (CALL, INPUT, ATTEMPT))
    host, _, port = served.app.target.partition(":")
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": CALL,
        "rpc.response.status_code": "OK",
        "server.address": host,
        "server.port": int(port),
    }
    times = {name: item.attributes.pop(name) for name in list(item.attributes) if name.endswith(("duration", "chunk"))}
    assert item.attributes == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "marengo3.0",
        "gen_ai.provider.name": "custom",
        "gen_ai.embeddings.dimension.count": 512,
        "embedwire.input.index": 0,
        "embedwire.modality": "text",
        "embedwire.segments": 1,
        "embedwire.attempts": 1,
    }
    assert times["gen_ai.response.time_to_first_chunk"] >= times["embedwire.upstream.duration"] > 0
    assert times["embedwire.decode.duration"] > 0
    base = served.settings.upstream.base_url
    assert attempt.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": f"{base}/embed",
        "url.template": "/embed",
        "server.address": "127.0.0.1",
        "server.port": int(str(base).rpartition(":")[2]),
        "embedwire.upstream_trace_id": "their-id",
    }
    assert {one.resource["service.name"] for one in receiver.spans} == {"embedwire"}
    assert call.resource["service.version"]
    assert len(call.resource["service.instance.id"]) == 36
    assert not any(one.is_error for one in receiver.spans)


async def test_cached_result(traced: Traced, receiver: Receiver) -> None:
    """The span of an input has its cache status; a hit has no request to the upstream."""
    async with traced(answer, cache_store="memory") as served:
        await embed(served)
        await embed(served)
        await receiver.received(5)

    found = [one.attributes["embedwire.cache_status"] for one in receiver.named(INPUT)]
    assert sorted(map(str, found)) == ["hit", "miss"]
    assert len(receiver.named(ATTEMPT)) == 1


async def test_each_retry_has_a_span(traced: Traced, receiver: Receiver) -> None:
    """Failed requests have spans of their own, with status and reason, and the repetitions are numbered."""
    async with traced(Steps(503, 502)) as served:
        await embed(served)
        await receiver.received(5)

    attempts, (item,) = receiver.named(ATTEMPT), receiver.named(INPUT)
    assert [one.attributes["http.response.status_code"] for one in attempts] == [503, 502, 200]
    assert [one.attributes.get("http.request.resend_count") for one in attempts] == [None, 1, 2]
    assert [one.attributes.get("error.type") for one in attempts] == ["UPSTREAM_UNAVAILABLE"] * 2 + [None]
    assert [one.is_error for one in attempts] == [True, True, False]
    assert {one.parent_id for one in attempts} == {item.span_id}
    assert item.attributes["embedwire.attempts"] == 3
    assert item.attributes["embedwire.queue.duration"] > 0
    assert not item.is_error


async def test_each_input_has_a_span(traced: Traced, receiver: Receiver) -> None:
    """Inputs that run concurrently have spans beside each other; the reason of one failure is on its span only."""

    async def script(visit: Visit) -> None:
        if b"bad" in visit.body:
            await visit.answer({"code": "parameter_invalid", "message": "no"}, 400)
        else:
            await answer(visit)

    async with traced(script) as served:
        await embed(served, text_input("good"), text_input("bad"), text_input("good"))
        await receiver.received(7)

    items, (call,) = receiver.named(INPUT), receiver.named(CALL)
    assert {one.parent_id for one in items} == {call.span_id}
    assert {one.parent_id for one in receiver.named(ATTEMPT)} == {one.span_id for one in items}
    reasons = {one.attributes["embedwire.input.index"]: one.attributes.get("error.type") for one in items}
    assert reasons == {0: None, 1: "INPUT_REJECTED", 2: None}
    assert (call.attributes["rpc.response.status_code"], call.is_error) == ("OK", False)


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (400, "INPUT_REJECTED", "INVALID_ARGUMENT"),
        (503, "UPSTREAM_UNAVAILABLE", "UNAVAILABLE"),
        (200, "UPSTREAM_MALFORMED_REPLY", "INTERNAL"),
    ],
)
async def test_reasons(traced: Traced, receiver: Receiver, status: int, reason: str, code: str) -> None:
    """A failure has its reason on the spans; that of the call is an error if the server is at fault."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"{}", status)

    async with traced(script, retry_max_attempts=1) as served:
        await fail(served)
        await receiver.received(3)

    (call,), (item,), (attempt,) = map(receiver.named, (CALL, INPUT, ATTEMPT))
    assert (call.attributes["error.type"], call.attributes["rpc.response.status_code"]) == (reason, code)
    assert (call.is_error, item.is_error) == (code != "INVALID_ARGUMENT", True)
    assert item.attributes["error.type"] == reason
    assert attempt.attributes["http.response.status_code"] == status
    assert attempt.is_error == (status != 200)


async def test_a_rejected_call_has_a_span(traced: Traced, receiver: Receiver) -> None:
    """A call that is rejected before its inputs begin has a span with the reason."""
    async with traced(answer) as served:
        await fail(served, model="unknown")
        (call,) = await receiver.received(1)
    assert (call.name, call.attributes["error.type"]) == (CALL, "INVALID_REQUEST")


async def test_a_cancelled_call(traced: Traced, receiver: Receiver) -> None:
    """The spans of a call whose caller disconnects end, with the reason."""
    arrived = asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await visit.gone()

    async with traced(script) as served:
        call = served.stub.CreateEmbedding(request(text_input()), timeout=30)
        reading = asyncio.ensure_future(call.read())
        await arrived.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await reading
        await receiver.received(3)

    assert {one.name: one.attributes["error.type"] for one in receiver.spans} == dict.fromkeys(
        (CALL, INPUT, ATTEMPT), "CANCELLED"
    )


async def test_deadline(traced: Traced, receiver: Receiver) -> None:
    """If the deadline passes, the spans of the call, its input and its request have the reason, and are errors."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    async with traced(script) as served:
        call = served.stub.CreateEmbedding(request(text_input()), metadata=(("grpc-timeout", "3S"),))
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        await receiver.received(3)
    found = {one.name: (one.attributes["error.type"], one.is_error) for one in receiver.spans}
    assert found == dict.fromkeys((CALL, INPUT, ATTEMPT), ("DEADLINE_EXCEEDED", True))


async def test_a_body_that_breaks_off(traced: Traced, receiver: Receiver) -> None:
    """A response that ends too early is an error of its request, although its status is a success."""

    async def script(visit: Visit) -> None:
        await visit.head(200, 9000)
        await visit.send(b'{"model_name":')
        visit.writer.close()

    async with traced(script) as served:
        await fail(served)
        await receiver.received(3)
    (attempt,) = receiver.named(ATTEMPT)
    assert attempt.attributes["http.response.status_code"] == 200
    assert (attempt.attributes["error.type"], attempt.is_error) == ("UPSTREAM_UNAVAILABLE", True)


async def test_a_task_and_its_polls(traced: Traced, receiver: Receiver) -> None:
    """The creation of a task and each poll have spans; the input has the task's id."""
    async with Sandbox(SandboxOptions(asset_polls=0, task_polls=1)) as sandbox, traced(**on(sandbox)) as served:
        found = await outcome(from_source(served, file_of(wav(20), **TASK)))
        await receiver.received(5)
        (task,) = sandbox.tasks

    assert found.failure is None
    (item,) = receiver.named(INPUT)
    assert item.attributes["embedwire.task_id"] == task.id
    polls = receiver.named("GET /embed-v2/tasks/{id}")
    assert len(polls) == 2
    assert not any("http.request.resend_count" in one.attributes for one in polls)
    (creation,) = receiver.named("POST /embed-v2/tasks")
    assert {one.parent_id for one in (creation, *polls)} == {item.span_id}


async def test_an_asset(traced: Traced, receiver: Receiver) -> None:
    """The upload of an asset and its deletion have spans within the trace of the call."""
    async with Sandbox(SandboxOptions(asset_polls=0, task_polls=0)) as sandbox, traced(**on(sandbox)) as served:
        found = await outcome(upload(served, padded_wav(ASSET_BYTES), audio(**TASK)))
        await receiver.received(7)

    assert found.failure is None
    assert len({one.trace_id for one in receiver.spans}) == 1
    assert {one.name for one in receiver.spans} >= {"POST /assets", "GET /assets/{id}", "DELETE /assets/{id}"}
    (item,) = receiver.named(INPUT)
    assert item.attributes["embedwire.upload.duration"] > 0
    assert item.attributes["embedwire.modality"] == "audio"


async def test_tokens(traced: Traced, receiver: Receiver) -> None:
    """The number of tokens is that of the upstream, if it reports one."""
    async with Sandbox() as sandbox, traced(**on(sandbox)) as served:
        await embed(served, model="marengo3.5")
        await receiver.received(3)
    (item,) = receiver.named("embeddings marengo3.5")
    assert item.attributes["gen_ai.usage.input_tokens"] > 0


async def test_other_services_have_no_spans(traced: Traced, receiver: Receiver) -> None:
    """Health checks are not recorded, also if their caller is traced."""
    async with traced(answer) as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        await health.Check(health_pb2.HealthCheckRequest(), metadata=(("traceparent", PARENT),), timeout=20)
        await embed(served)
        await receiver.received(3)
    assert {one.name for one in receiver.spans} == {CALL, INPUT, ATTEMPT}


async def test_no_content(traced: Traced, receiver: Receiver) -> None:
    """Nothing that a caller sends is in a span: texts, keys, names and URLs of files, metadata, errors about them."""

    async def script(visit: Visit) -> None:
        await visit.answer({"code": "parameter_invalid", "message": f"SECRET {visit.body!r}"}, 400)

    metadata = [("baggage", "SECRET=SECRET"), ("x-request-id", "SECRET"), ("x-upstream-api-key", "SECRET")]
    url = url_input("image", "http://SECRET.test/SECRET.png?SECRET")
    inputs = text_input("SECRET", key="SECRET"), url, file_input("audio", wav(5), "SECRET.wav")
    async with traced(script, auth_allow_caller_api_keys=True) as served:
        call = served.stub.CreateEmbedding(request(*inputs), timeout=30, metadata=metadata)
        assert [event async for event in call]
        await receiver.received(7)
    assert len(receiver.named(ATTEMPT)) == 3
    assert not any(b"SECRET" in one.span.SerializeToString() for one in receiver.spans)
