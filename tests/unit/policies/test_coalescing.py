"""Identical inputs in flight: which of them share a request, and what each caller gets."""

import asyncio
import contextvars
import dataclasses
import gc
import weakref
from typing import Any

import pytest

from embedwire_server.core.errors import GatewayError, Reason, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, FileSource, ImageInput, TextInput
from embedwire_server.core.models import MARENGO_35, Truncate
from embedwire_server.core.results import CacheStatus, ReplySummary, Segment
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.observability import trace_context
from embedwire_server.observability.log_lines import request_id
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.trace_context import TraceContext
from embedwire_server.policies.cache.memory_store import MemoryStore
from embedwire_server.policies.cache.policy import CachePolicy
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.policies.flight import MAX_SEGMENTS
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import ANSWER, KEYS, SEGMENT, call, embedded, gathered, refusal, start, undecided
from tests.support.virtual_time import in_virtual_time, now, settled

MISS, COALESCED = CacheStatus.MISS, CacheStatus.COALESCED


def image(name: str = "a.png", data: bytes = b"x", media_type: str = "image/png") -> EmbedCall:
    return call(item=ImageInput("", FileSource(InMemoryContent(data), name, media_type)))


def coalescing() -> tuple[CoalescingPolicy, ScriptedUpstream]:
    """Return a policy, and the upstream behind it, whose attempts end when the test decides."""
    scripted = ScriptedUpstream(undecided)
    return CoalescingPolicy(scripted, KEYS), scripted


@in_virtual_time
async def test_identical_texts() -> None:
    """They share one attempt; each gets the answer, and segments of its own."""
    upstream, scripted = coalescing()
    calls = [call() for _ in range(1000)]
    tasks = start(upstream, *calls)
    await settled()
    [attempt] = scripted.attempts
    attempt.succeed()
    found = await gathered(tasks)

    assert found == [ANSWER] * 1000
    assert len({id(one.batches[0][0]) for one in found}) == len({id(one.summary) for one in found}) == 1000
    assert [one.cache_status for one in calls] == [MISS] + [COALESCED] * 999
    assert [one.attempts for one in calls] == [1] + [0] * 999
    assert {one.upstream for one in calls} == {"scripted"}


@pytest.mark.parametrize(
    "other",
    [
        call(item=TextInput("", "a blue fox")),
        call(item=TextInput("", "a red fox", Truncate.END)),
        call(credential="key of a caller"),
        call(max_retries=0),
        dataclasses.replace(call(), tenant="other"),
        dataclasses.replace(call(), has_uncertainty=True),
        dataclasses.replace(call(), model=MARENGO_35),
        dataclasses.replace(call(), model=call().model.with_dimensions(256)),
    ],
    ids=["text", "truncate", "credential", "retries", "tenant", "uncertainty", "model", "dimensions"],
)
@in_virtual_time
async def test_texts_that_differ(other: EmbedCall) -> None:
    """A difference in content, selection, tenant, credential or retries gives each an attempt of its own."""
    upstream, scripted = coalescing()
    tasks = start(upstream, call(), dataclasses.replace(other))
    await settled()
    assert len(scripted.attempts) == 2
    for attempt in scripted.attempts:
        attempt.succeed()

    assert all(isinstance(one.summary, ReplySummary) for one in await gathered(tasks))


async def test_images() -> None:
    """Images share an attempt by their bytes; each gets the name of its own file."""
    upstream, scripted = coalescing()
    calls = [image("a.png"), image("b.png"), image("c.png", b"y"), image("d.png", media_type="image/jpeg")]
    tasks = start(upstream, *calls)
    async with asyncio.timeout(10):
        while len(scripted.attempts) < 3 or None in {one.cache_status for one in calls}:
            await asyncio.sleep(0.001)
    for attempt in scripted.attempts:
        attempt.succeed(summary=ReplySummary("m", input_filename=attempt.call.input.source.file_name))  # type: ignore[union-attr]
    found = await gathered(tasks)

    assert [one.summary.input_filename for one in found] == ["a.png", "b.png", "c.png", "d.png"]
    assert sorted(str(one.cache_status) for one in calls) == ["coalesced", "miss", "miss", "miss"]


class _Counted(InMemoryContent):
    """A file that counts how often its beginning is read."""

    reads = 0

    def read_at(self, offset: int, size: int) -> bytes:
        type(self).reads += offset == 0
        return super().read_at(offset, size)


async def test_a_file_is_hashed_once() -> None:
    """The key of an image, which needs its whole file, is computed once for cache and coalescing."""
    store = MemoryStore(1 << 20, 60, Metrics("fake"))
    upstream = CachePolicy(CoalescingPolicy(ScriptedUpstream(), KEYS), KEYS, store)
    await embedded(upstream, call(item=ImageInput("", FileSource(_Counted(b"x"), "a.png", "image/png"))))

    assert _Counted.reads == 1


@in_virtual_time
async def test_a_result_is_stored_before_its_caller_has_taken_it() -> None:
    """An identical input that begins while the first caller is slow to take the result is a hit."""
    store, scripted = MemoryStore(1 << 20, 60, Metrics("fake")), ScriptedUpstream()
    upstream = CachePolicy(CoalescingPolicy(scripted, KEYS, store), KEYS, store)
    taken, second = asyncio.Event(), call()

    async def emit_slowly(_: list[Segment]) -> None:
        await taken.wait()

    first = asyncio.create_task(upstream.embed(call(), emit_slowly))
    await settled()
    await embedded(upstream, second)
    taken.set()
    await first

    assert (second.cache_status, len(scripted.attempts)) == (CacheStatus.HIT, 1)


@in_virtual_time
async def test_audio() -> None:
    """Audio is never shared, and has no cache status."""
    upstream, scripted = coalescing()
    source = FileSource(InMemoryContent(b"x"), "a.wav", "audio/wav")
    calls = [call(item=AudioInput("", source)) for _ in range(2)]
    tasks = start(upstream, *calls)
    await settled()
    for attempt in scripted.attempts:
        attempt.succeed()
    await gathered(tasks)

    assert len(scripted.attempts) == 2
    assert [one.cache_status for one in calls] == [None, None]


@in_virtual_time
async def test_a_failure_of_the_upstream() -> None:
    """Every caller gets a copy, which it may change."""
    upstream, scripted = coalescing()
    tasks = start(upstream, *[call() for _ in range(3)])
    await settled()
    scripted.attempts[0].fail(refusal(400, Reason.INPUT_REJECTED, retry_delay=7))
    failures = await gathered(tasks)
    failures[0].locate("inputs[5].text")

    assert [(type(one), one.reason, one.upstream.http_status, one.retry_delay) for one in failures] == [
        (UpstreamFailure, Reason.INPUT_REJECTED, 400, 7)
    ] * 3
    assert [one.message for one in failures] == ["inputs[5].text: no", "no", "no"]
    assert [len(one.violations) for one in failures] == [1, 0, 0]


@pytest.mark.parametrize("error", [KeyError("a bug"), asyncio.CancelledError()], ids=repr)
@in_virtual_time
async def test_an_unexpected_exception(error: BaseException) -> None:
    """Every caller raises it, also a CancelledError that has leaked out of a library."""
    upstream, scripted = coalescing()
    tasks = start(upstream, call(), call())
    await settled()
    scripted.attempts[0].fail(error)
    found = await gathered(tasks)

    assert [type(one) for one in found] == [type(error)] * 2


@in_virtual_time
async def test_emit() -> None:
    """A caller that takes its segments slowly, and one whose `emit` raises, do not affect the others."""
    upstream, scripted = coalescing()

    async def slow(_: list[Segment]) -> None:
        await asyncio.sleep(1000)

    async def broken(_: list[Segment]) -> None:
        raise ConnectionError

    emitting: list[asyncio.Task[Any]] = [asyncio.create_task(upstream.embed(call(), emit)) for emit in (slow, broken)]
    tasks = start(upstream, call())
    await settled()
    scripted.attempts[0].succeed()

    assert await gathered(tasks) == [ANSWER]
    assert now() == 0
    failed, answered = (await gathered(emitting))[::-1]
    assert isinstance(failed, ConnectionError)
    assert answered == ANSWER.summary


@in_virtual_time
async def test_statistics() -> None:
    """The requests and times are those of the starter; for another caller, only the time since it has joined."""
    upstream, scripted = coalescing()
    calls = [call(), call(), call()]
    tasks = start(upstream, *calls[:2])
    await settled()
    of_flight = scripted.attempts[0].call
    of_flight.queue, of_flight.decode, of_flight.attempts = 1e-9, 5.0, 3
    tasks += start(upstream, calls[2])
    await settled()
    scripted.attempts[0].succeed()
    await gathered(tasks)

    assert [one.attempts for one in calls] == [3, 0, 0]
    assert [one.queue for one in calls] == [1e-9, 1e-9, 0]
    assert [one.decode for one in calls] == [5, 0, 0]
    assert calls[0].waiting == of_flight.waiting
    assert all(one.waiting > 0 for one in calls)


@in_virtual_time
async def test_statistics_of_a_starter_that_leaves() -> None:
    """It has the attempts that were made so far; later ones, and the status of a miss, are those of the next caller."""
    upstream, scripted = coalescing()
    calls = [call(), call(), call()]
    tasks = start(upstream, *calls)
    await settled()
    tasks[0].cancel()
    await settled()
    scripted.attempts[0].call.attempts += 4  # the retry policy is not there
    scripted.attempts[0].succeed()
    await gathered(tasks)

    assert [one.attempts for one in calls] == [1, 4, 0]
    assert [one.cache_status for one in calls] == [MISS, MISS, COALESCED]
    assert all(one.waiting > 0 for one in calls)


@in_virtual_time
async def test_too_many_segments() -> None:
    """A response with more segments than a text or an image can have is malformed: they are kept until its end."""
    upstream, scripted = coalescing()
    tasks = start(upstream, call())
    await settled()
    scripted.attempts[0].succeed(*[[SEGMENT]] * (MAX_SEGMENTS + 1))
    [failure] = await gathered(tasks)

    assert isinstance(failure, GatewayError)
    assert failure.reason is Reason.UPSTREAM_MALFORMED_REPLY


class _Held:
    """A value of the starter's context."""


@in_virtual_time
async def test_context() -> None:
    """A flight has the request id and the trace of its starter, and keeps nothing else of its context alive."""
    seen: list[tuple[str, TraceContext | None]] = []
    trace = TraceContext("a" * 32, "b" * 16, 1)

    async def look(_: Attempt) -> None:
        seen.append((request_id.get(), trace_context.current.get()))

    scripted = ScriptedUpstream(look)
    upstream = CoalescingPolicy(scripted, KEYS)
    held, variable = _Held(), contextvars.ContextVar[_Held]("held")
    reference = weakref.ref(held)

    def of_starter(value: _Held) -> None:
        variable.set(value)
        request_id.set("of the starter")
        trace_context.current.set(trace)

    context = contextvars.Context()
    context.run(of_starter, held)
    first = asyncio.create_task(embedded(upstream, call()), context=context)
    [second] = start(upstream, call())
    await settled()
    first.cancel()
    await asyncio.wait([first])
    del held, context, first
    await settled()
    gc.collect()

    assert seen == [("of the starter", trace)]
    assert reference() is None
    scripted.attempts[0].succeed()
    assert await second == ANSWER
