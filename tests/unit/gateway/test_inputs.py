"""Inputs of one request: segments, results, their order and concurrency."""

import pytest

from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import ReplySummary, Stage
from embedwire_server.testing import Attempt
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.gateway.support import (
    DEADLINE,
    Bench,
    Recorder,
    cancelled,
    good,
    numbered,
    request,
    settled,
    stuck,
    text,
)


async def test_segments_that_arrive_together() -> None:
    """Segments of one batch are passed on together and numbered after the earlier ones."""

    async def script(attempt: Attempt) -> None:
        await attempt.emit([numbered(number) for number in range(2)])
        await attempt.emit([numbered(number) for number in range(2, 5)])
        attempt.end()

    reply = await Bench(a=script).embed(text("a"))
    assert reply.numbers("a") == [(number, number) for number in range(5)]
    assert reply.order == [(0, False), (0, False), (0, True)]
    assert reply.results["a"].call.segments == 5


async def test_one_input() -> None:
    """Segments come in order and numbered, then the result with the upstream's summary."""
    reply = await Bench(a=good(3)).embed(text("a"))
    assert reply.numbers("a") == [(0, 0), (1, 1), (2, 2)]
    assert reply.order == [(0, False)] * 3 + [(0, True)]
    result = reply.results["a"]
    assert (result.call.index, result.call.input.key, result.call.segments) == (0, "a", 3)
    assert (result.summary, result.failure, result.call.model) == (ReplySummary("m"), None, MARENGO_30)
    assert (result.call.attempts, result.call.upstream) == (1, "scripted")


async def test_call() -> None:
    """The upstream call has the input, model, deadline and retries of the request."""
    bench = Bench(a=good())
    item = text("a")
    await bench.gateway.embed(request(item, max_retries=2), 1234.5, Recorder())
    (attempt,) = bench.upstream.attempts
    assert attempt.call.input is item
    assert (attempt.call.model, attempt.call.deadline, attempt.call.max_retries) == (MARENGO_30, 1234.5, 2)


async def test_several_inputs() -> None:
    """Each input has its own segments and exactly one result, which comes last."""
    reply = await Bench(a=good(2), b=good(5), c=good(1)).embed(text("a"), text("b"), text("c"))
    for index, (key, count) in enumerate((("a", 2), ("b", 5), ("c", 1))):
        assert reply.numbers(key) == [(number, number) for number in range(count)]
        assert {own for own, place, *_ in reply.segments if place == index} == {key}
        assert [is_result for place, is_result in reply.order if place == index] == [False] * count + [True]
        assert reply.results[key].call.segments == count
    assert len(reply.order) == 8 + 3


async def test_same_key_twice() -> None:
    """Keys need not be unique: inputs are identified by their index."""
    reply = await Bench(a=good(1)).embed(text("a"), text("a"))
    assert sorted(index for index, is_result in reply.order if is_result) == [0, 1]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_inputs_at_once(at_once: int) -> None:
    """At most the allowed number of inputs of one request run at a time."""
    bench = Bench(at_once, a=good(3))
    await bench.embed(*[text("a")] * 10)
    assert bench.upstream.most_running == at_once
    assert len(bench.upstream.attempts) == 10


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
async def test_everything_in_order(at_once: int) -> None:
    """Inputs start in order up to the limit, and each segment comes once, in the order of its input."""
    counts = {"a": 5, "b": 0, "c": 1, "d": 7, "e": 3}
    bench = Bench(at_once, others=lambda attempt: good(counts[attempt.call.input.key])(attempt))
    reply = await bench.embed(*map(text, counts))
    for key, count in counts.items():
        assert reply.numbers(key) == [(number, number) for number in range(count)]
    assert len(reply.segments) == sum(counts.values())
    assert bench.begun() == list(counts)
    assert bench.upstream.most_running == min(at_once, len(counts))
    assert bench.upstream.running == 0


async def test_interleaving() -> None:
    """A waiting input does not delay the segments of others."""
    bench, reply = Bench(3, a=stuck(), b=good(2), c=good(2)), Recorder()
    task = bench.begin(*map(text, "abc"), reply=reply)
    await settled()
    assert {(key, number) for key, _, number, _ in reply.segments} == {("b", 0), ("b", 1), ("c", 0), ("c", 1)}
    assert set(reply.results) == {"b", "c"}
    await cancelled(task)


async def test_one_after_the_other() -> None:
    """With a concurrency of 1, inputs run in order, each to its result."""
    reply = await Bench(1, a=good(2), b=good(2)).embed(text("a"), text("b"))
    assert reply.order == [(0, False), (0, False), (0, True), (1, False), (1, False), (1, True)]


async def test_deadline_that_a_task_has_moved() -> None:
    """Inputs that begin while a task runs have the later deadline that the task has given to the call."""

    class Moving(Recorder):
        async def add_progress(self, call: EmbedCall, stage: Stage) -> None:
            await super().add_progress(call, stage)
            call.deadline = DEADLINE + 60

    async def task(attempt: Attempt) -> None:
        await attempt.call.enter(Stage.PROCESSING)

    reply = Moving()
    bench = Bench(2, task=task)
    running = bench.begin(text("task"), text("a"), text("b"), reply=reply)
    await settled()

    assert bench.begun() == ["task", "a", "b"]
    assert bench.upstream.attempts[-1].call.deadline == DEADLINE + 60
    await cancelled(running)
