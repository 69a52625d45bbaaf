"""Invariants of all policies together, however a call ends."""

import asyncio

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import CallerStalled, GatewayError, RateLimited, Reason
from embedwire_server.core.inputs import EmbedRequest, TextInput
from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import ReplySummary, Segment, Stage
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.observability import trace_context
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.trace_context import TraceContext
from embedwire_server.observability.tracing import Tracer
from embedwire_server.policies.attempts import AttemptPolicy
from embedwire_server.policies.cache.memory_store import MemoryStore
from embedwire_server.policies.cache.policy import CachePolicy
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.policies.concurrency_limit import ConcurrencyLimiter, ConcurrencyLimitPolicy
from embedwire_server.policies.input_spans import InputSpanPolicy
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.retry import RetryPolicy
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall, Upstream
from tests.support.embed_calls import KEYS, SEGMENT, call, gathered, limited, refusal, sample, start, texts, undecided
from tests.support.virtual_time import in_virtual_time, settled


class OpenSpans(SpanProcessor):
    """Counts the spans that were started, and those that have not ended."""

    def __init__(self) -> None:
        self.started = self.open = 0

    def tracer(self) -> Tracer:
        """Return a tracer within a recorded call."""
        trace_context.current.set(TraceContext("a" * 32, "b" * 16, trace_context.SAMPLED))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self)
        return Tracer(provider.get_tracer("test"))

    def on_start(self, *_: object, **__: object) -> None:
        self.started += 1
        self.open += 1

    def on_end(self, _: ReadableSpan) -> None:
        self.open -= 1


class Bench:
    """All policies around a scripted upstream, with one slot.

    Args:
        is_coalescing: whether identical inputs share an attempt.
    """

    def __init__(self, *, is_coalescing: bool = False) -> None:
        self.metrics = Metrics("fake")
        self.limiter = ConcurrencyLimiter(self.metrics, 1)
        self.rate_limiters = RateLimiters({}, self.metrics)
        self.scripted = ScriptedUpstream(undecided, "fake")
        measured = AttemptPolicy(self.scripted, self.metrics)
        retrying = RetryPolicy(RateLimitPolicy(measured, self.rate_limiters), RetryBudget(0.2, 3), self.metrics)
        self.spans = OpenSpans()
        limiting: Upstream = ConcurrencyLimitPolicy(retrying, self.limiter, self.metrics)
        shared = CoalescingPolicy(limiting, KEYS) if is_coalescing else limiting
        caching = CachePolicy(shared, KEYS, MemoryStore(1 << 20, 60, self.metrics))
        self.upstream: Upstream = InputSpanPolicy(caching, self.spans.tracer())

    @property
    def attempts(self) -> list[Attempt]:
        return self.scripted.attempts

    def is_idle(self) -> bool:
        """Whether no attempt runs, no slot is in use, no probe is in flight and no span is open."""
        is_free = self.limiter.slots(call()).is_idle and self.rate_limiters.of(call()).is_idle
        return is_free and self.scripted.running == 0 and self.spans.open == 0 < self.spans.started

    def ended(self, outcome: str) -> float:
        """Return the number of attempts with this outcome."""
        labels = {"upstream": "fake", "endpoint": call().model.endpoint, "modality": "text"}
        return sample(self.metrics, "embedwire_upstream_requests_total", **labels, reason=outcome)


class Refusing:
    """A reply that raises on every addition."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def add_segments(self, _: EmbedCall, __: int, ___: list[Segment]) -> None:
        raise self._error

    async def add_progress(self, _: EmbedCall, __: Stage) -> None:
        """Accept a new stage."""

    async def add_result(self, _: EmbedCall, __: ReplySummary | None, ___: GatewayError | None) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    "error",
    [ConnectionError(), CallerStalled(1), RateLimited("no"), refusal(503), limited(60)],
    ids=["connection", "caller stalled", "rate limited", "repeatable", "limited"],
)
@in_virtual_time
async def test_exception_of_emit(error: Exception) -> None:
    """An exception of `emit` is raised unchanged, is not retried, causes no back-off, and counts as cancelled."""
    bench = Bench()
    admission = LoadShedder(bench.metrics, in_flight=1, queued=10, content_bytes=1000)
    gateway = Gateway(bench.upstream, admission, bench.metrics, inputs_at_once=1)
    running = asyncio.create_task(gateway.embed(EmbedRequest(MARENGO_30, texts(1)), 1e9, Refusing(error)))
    [waiting] = start(bench.upstream, call())
    await settled()
    bench.attempts[0].fail(limited())
    await asyncio.sleep(5)
    bench.attempts[1].succeed()
    await settled()
    assert running.done()
    assert running.exception() is error
    assert len(bench.attempts) == 3
    assert bench.attempts[2].call is not bench.attempts[1].call
    bench.attempts[2].succeed()
    await waiting

    assert bench.is_idle()
    assert sample(bench.metrics, "embedwire_rate_limit_backoffs_total", modality="text") == 1
    assert [bench.ended(outcome) for outcome in ("UPSTREAM_RATE_LIMITED", "CANCELLED", "OK")] == [1, 1, 1]
    assert getattr(error, "retry_delay", None) in {None, 60}


@in_virtual_time
async def test_cancelled_while_emit_waits() -> None:
    """An attempt cancelled while `emit` waits releases everything and counts as cancelled."""
    bench, is_emitting = Bench(), asyncio.Event()

    async def emit(_: list[Segment]) -> None:
        is_emitting.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(bench.upstream.embed(call(), emit))
    [waiting] = start(bench.upstream, call())
    await settled()
    bench.attempts[0].succeed([SEGMENT], [SEGMENT])
    await is_emitting.wait()
    assert len(bench.attempts) == 1
    running.cancel()
    await gathered([running])
    await settled()
    assert running.cancelled()
    bench.attempts[1].succeed()
    await waiting

    assert bench.is_idle()
    assert [bench.ended(outcome) for outcome in (Reason.CANCELLED, "OK")] == [1, 1]


@in_virtual_time
async def test_callers_of_a_shared_attempt_leave() -> None:
    """An attempt whose callers leave releases everything, whether it waits for a slot, the upstream or a retry."""
    bench = Bench(is_coalescing=True)
    [busy] = start(bench.upstream, call(item=TextInput("", "another text")))
    for wait in ("slot", "upstream", "retry"):
        tasks = start(bench.upstream, call(), call())
        await settled()
        if wait == "retry":
            bench.attempts[-1].fail(refusal(503, retry_delay=9))
            await settled()
        for task in tasks:
            task.cancel()
        await gathered(tasks)
        if wait == "slot":
            bench.attempts[0].succeed()
            await busy

    assert bench.is_idle()
    assert len(bench.attempts) == 3
    assert [bench.ended(outcome) for outcome in ("OK", Reason.CANCELLED, "UPSTREAM_UNAVAILABLE")] == [1, 1, 1]
