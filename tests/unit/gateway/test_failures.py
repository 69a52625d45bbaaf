"""Failures of inputs, of the reply and of admission."""

import dataclasses
import gc
import weakref
from typing import Any

import pytest
from structlog.testing import capture_logs

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import InternalError, Overloaded, Reason, ReplyTooLarge, UpstreamFailure
from embedwire_server.core.results import Segment
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.policies.retry import RetryPolicy
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.rpc.unary_reply import MAX_REPLY_BYTES, UnaryReply
from embedwire_server.testing import Attempt
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.gateway.support import (
    DEADLINE,
    SECRET,
    Bench,
    File,
    Recorder,
    bad,
    cancelled,
    good,
    image,
    request,
    settled,
    stuck,
    text,
)


async def test_failures_stay_with_their_input() -> None:
    """With several inputs a failure is in the result of its input, and the others succeed."""
    failure = UpstreamFailure(Reason.INPUT_REJECTED, "no")
    bench = Bench(a=good(2), b=bad(failure, 1), c=bad(ValueError(SECRET)))
    with capture_logs():
        found = (await bench.embed(text("a"), text("b"), text("c"))).results
    assert found["a"].failure is None
    assert found["b"].failure is failure
    assert (found["b"].summary, found["b"].call.segments) == (None, 1)
    assert isinstance(found["c"].failure, InternalError)
    assert [bench.inputs(reason) for reason in ("OK", "INPUT_REJECTED", "INTERNAL")] == [1, 1, 1]
    assert bench.segments() == 3
    assert bench.in_flight() == 0


async def test_failure_of_the_only_input() -> None:
    """The failure of a single input is raised, after the segments before it."""
    failure = UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "gone")
    bench, reply = Bench(a=bad(failure, 2)), Recorder()
    with pytest.raises(UpstreamFailure) as caught:
        await bench.embed(text("a"), reply=reply)
    assert caught.value is failure
    assert failure.attempts == 1
    assert reply.order == [(0, False)] * 2
    assert bench.inputs("UPSTREAM_UNAVAILABLE") == 1


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_unforeseen_exception(inputs: str) -> None:
    """An unexpected exception becomes INTERNAL; its text is neither in the reply nor in the log."""
    error = ValueError(SECRET)
    error.__cause__ = KeyError(SECRET)
    bench = Bench(a=bad(error), b=good())
    with capture_logs() as logs:
        failure: Any
        try:
            failure = (await bench.embed(*map(text, inputs))).results["a"].failure
        except InternalError as raised:
            failure = raised
    assert isinstance(failure, InternalError)
    assert SECRET not in f"{failure} {failure!r} {failure.message} {logs}"
    assert [(log["log_level"], log["error_type"], log["causes"]) for log in logs] == [
        ("error", "builtins.ValueError", ["KeyError"])
    ]
    assert any("gateway/support.py" in frame for frame in logs[0]["stacktrace"].split("; "))


@dataclasses.dataclass
class Refusing(Recorder):
    """A reply that accepts some segments and then raises."""

    most: int = 3
    error: Exception = dataclasses.field(default_factory=lambda: ReplyTooLarge("too large"))

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        if self.offered == self.most:
            raise self.error
        await super().add_segments(call, first, segments)


@pytest.mark.parametrize(
    "error", [ReplyTooLarge("too large"), ValueError("a fault")], ids=["foreseen", "log_unexpected"]
)
@pytest.mark.parametrize("inputs", ["a", "abcz"], ids=["single", "several"])
async def test_a_reply_that_raises(inputs: str, error: Exception) -> None:
    """An exception of the reply ends the call unchanged: no input fails and no other is started."""
    bench, reply = Bench(3, others=stuck(1000)), Refusing(error=error)
    with capture_logs() as logs, pytest.raises(type(error)) as caught:
        await bench.embed(*map(text, inputs), reply=reply)
    assert caught.value is error
    assert logs == []
    assert bench.upstream.running == 0
    assert "z" not in bench.begun()
    assert bench.inputs("CANCELLED") == len(bench.begun()) == min(3, len(inputs))
    assert bench.inputs("INTERNAL") is bench.inputs("REPLY_TOO_LARGE") is None
    assert bench.in_flight() == 0
    assert reply.results == {}


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_reply_that_is_too_large(inputs: str) -> None:
    """A full unary reply ends the call with REPLY_TOO_LARGE, and files are closed."""

    async def script(attempt: Attempt) -> None:
        for _ in range(5):
            await attempt.emit([Segment(bytes(MAX_REPLY_BYTES // 4))])
        attempt.end()

    bench, files = Bench(a=script, b=stuck()), [File() for _ in inputs]
    reply = UnaryReply(len(inputs), pb.VECTOR_ENCODING_FLOAT32_LE)
    with pytest.raises(ReplyTooLarge):
        await bench.embed(*(image(key, file) for key, file in zip(inputs, files, strict=True)), reply=reply)
    assert bench.inputs("CANCELLED", "image") == len(inputs)
    assert bench.inputs("REPLY_TOO_LARGE", "image") is None
    assert [file.closed for file in files] == [1] * len(inputs)
    assert bench.upstream.running == 0


async def test_a_result_that_the_reply_refuses() -> None:
    """An exception of the reply for a result ends the call, although the input itself succeeded."""

    @dataclasses.dataclass
    class Full(Recorder):
        async def add_result(self, *_: object) -> None:
            raise ReplyTooLarge("too large")

    bench = Bench(a=good(), b=stuck())
    with pytest.raises(ReplyTooLarge):
        await bench.embed(text("a"), text("b"), reply=Full())
    assert (bench.inputs("OK"), bench.inputs("CANCELLED")) == (1, 1)


async def test_refused_request_starts_nothing() -> None:
    """A request that admission refuses starts no input and adds nothing to the reply."""
    bench, reply = Bench(64, queued=0, a=stuck()), Recorder()
    running = bench.begin(*[text("a")] * 64, reply=Recorder())
    await settled()
    for inputs in ("a", "aa"):
        with pytest.raises(Overloaded):
            await bench.embed(*map(text, inputs), reply=reply)
    assert reply.order == []
    assert len(bench.upstream.attempts) == 64
    assert bench.in_flight() == 64
    await cancelled(running)


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_a_failure_leaves_no_cycle(inputs: str) -> None:
    """A failed input is freed by reference counting, without the garbage collector."""

    async def script(attempt: Attempt) -> None:
        calls.append(weakref.ref(attempt))
        raise UpstreamFailure(Reason.INPUT_REJECTED, "no") from KeyError()

    calls: list[weakref.ref[Attempt]] = []
    bench = Bench(a=script, b=script)
    retrying = RetryPolicy(bench.upstream, RetryBudget(0.2, 3), bench.metrics)
    admission = LoadShedder(bench.metrics, in_flight=64, queued=64, content_bytes=1 << 20)
    gateway = Gateway(retrying, admission, bench.metrics, 16)
    gc.collect()
    gc.disable()
    try:
        try:
            await gateway.embed(request(*map(text, inputs)), DEADLINE, Recorder())
        except UpstreamFailure as failure:
            failure.__traceback__ = None
        bench.upstream.attempts.clear()
        await settled()
        assert [call() for call in calls] == [None] * len(inputs)
    finally:
        gc.enable()
