"""One request: its inputs to the upstream and their answers back, in every ending."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from embedwire_server.content import MemoryContent
from embedwire_server.domain import (
    Completion,
    EmbedRequest,
    Event,
    FileSource,
    ImageInput,
    Input,
    InputResult,
    InputSegment,
    Segment,
    TextInput,
)
from embedwire_server.errors import InternalError, Overloaded, Reason, UpstreamFailure
from embedwire_server.gateway import Gateway
from embedwire_server.metrics import Metrics
from embedwire_server.models import MARENGO_30
from embedwire_server.upstream import Part, UpstreamCall
from embedwire_server.upstream.policies.admission import Admission

SECRET = "the caller's words"
DEADLINE = 1e9
Items = AsyncGenerator[Part]
Answer = Callable[[UpstreamCall], Items]


class Fake:
    """An upstream that answers each input by its key."""

    def __init__(self, **answers: Answer) -> None:
        self._answers = answers
        self.calls: list[UpstreamCall] = []
        self.running = 0
        self.most_running = 0

    async def embed(self, call: UpstreamCall) -> Items:
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        call.trace.attempts += 1
        call.trace.upstream = "fake"
        try:
            async with contextlib.aclosing(self._answers[call.input.key](call)) as items:
                async for item in items:
                    yield item
        finally:
            self.running -= 1


def good(count: int = 1) -> Answer:
    async def answer(_: UpstreamCall) -> Items:
        for number in range(count):
            await asyncio.sleep(0)
            yield [Segment(bytes([number, 0, 0, 0]))]
        yield Completion("m")

    return answer


def bad(error: BaseException, count: int = 0) -> Answer:
    async def answer(_: UpstreamCall) -> Items:
        for number in range(count):
            yield [Segment(bytes([number, 0, 0, 0]))]
        await asyncio.sleep(0)
        raise error

    return answer


def stuck(count: int = 0) -> Answer:
    async def answer(_: UpstreamCall) -> Items:
        for number in range(count):
            yield [Segment(bytes([number, 0, 0, 0]))]
        await asyncio.Event().wait()

    return answer


@dataclasses.dataclass
class File:
    """A file that knows whether it was closed, and may never be good."""

    fault: Exception | None = None
    closed: int = 0

    async def ready(self) -> int:
        if self.fault is not None:
            raise self.fault
        return 1

    def read_at(self, offset: int, size: int) -> bytes:
        return b"x"[offset : offset + size]

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield b"x"

    def close(self) -> None:
        self.closed += 1


def text(key: str) -> Input:
    return TextInput(key, SECRET)


def image(key: str, file: File) -> Input:
    return ImageInput(key, FileSource(file, "a.png", "image/png"))


def request(*inputs: Input, max_retries: int | None = None) -> EmbedRequest:
    return EmbedRequest(MARENGO_30, inputs, max_retries)


class Bench:
    """A gateway with its upstream and its metrics."""

    def __init__(self, inputs_at_once: int = 16, **answers: Answer) -> None:
        self.metrics = Metrics("fake")
        self.upstream = Fake(**answers)
        admission = Admission(self.metrics, in_flight=64, queued=256, content_bytes=1 << 20)
        self.gateway = Gateway(self.upstream, admission, self.metrics, inputs_at_once)

    def events(self, *inputs: Input) -> AsyncGenerator[Event]:
        return self.gateway.embed(request(*inputs), DEADLINE)

    async def all_of(self, *inputs: Input) -> list[Event]:
        return [event async for event in self.events(*inputs)]

    def inputs(self, reason: str, modality: str = "text") -> float | None:
        labels = {"modality": modality, "model": "marengo3.0", "reason": reason}
        return self.metrics.registry.get_sample_value("embedwire_inputs_total", labels)

    def segments(self, modality: str = "text") -> float | None:
        labels = {"modality": modality, "model": "marengo3.0"}
        return self.metrics.registry.get_sample_value("embedwire_segments_total", labels)

    def in_flight(self, modality: str = "text") -> float | None:
        return self.metrics.registry.get_sample_value("embedwire_inputs_in_flight", {"modality": modality})


def results(events: list[Event]) -> dict[str, InputResult]:
    return {event.input_key: event for event in events if isinstance(event, InputResult)}


async def test_segments_that_arrive_together() -> None:
    """They are told one by one, and numbered on after those that came before."""

    async def answer(_: UpstreamCall) -> Items:
        yield [Segment(bytes([number, 0, 0, 0])) for number in range(2)]
        yield [Segment(bytes([number, 0, 0, 0])) for number in range(2, 5)]
        yield Completion("m")

    *segments, result = await Bench(a=answer).all_of(text("a"))
    numbers = [(s.segment_index, s.segment.vector[0]) for s in segments if isinstance(s, InputSegment)]
    assert numbers == [(number, number) for number in range(5)]
    assert isinstance(result, InputResult)
    assert result.segment_count == 5


async def test_one_input() -> None:
    """The segments come in order, numbered, then the result with what the upstream said."""
    bench = Bench(a=good(3))
    *segments, result = await bench.all_of(text("a"))
    assert [(s.segment_index, s.segment.vector[0]) for s in segments if isinstance(s, InputSegment)] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    assert isinstance(result, InputResult)
    assert (result.input_index, result.input_key, result.segment_count) == (0, "a", 3)
    assert (result.completion, result.failure, result.model) == (Completion("m"), None, MARENGO_30)
    assert (result.trace.attempts, result.trace.upstream) == (1, "fake")


async def test_call() -> None:
    """The upstream is given the input, the model, the deadline and the retries as they are."""
    bench = Bench(a=good())
    item = text("a")
    async for _ in bench.gateway.embed(request(item, max_retries=2), 1234.5):
        pass
    call = bench.upstream.calls[0]
    assert call.input is item
    assert (call.model, call.deadline, call.max_retries) == (MARENGO_30, 1234.5, 2)


async def test_several_inputs() -> None:
    """Each input has its own segments and exactly one result, which comes last."""
    bench = Bench(a=good(2), b=good(5), c=good(1))
    events = await bench.all_of(text("a"), text("b"), text("c"))
    for index, (key, count) in enumerate((("a", 2), ("b", 5), ("c", 1))):
        own = [event for event in events if event.input_index == index]
        assert {event.input_key for event in own} == {key}
        assert [event.segment_index for event in own[:-1] if isinstance(event, InputSegment)] == list(range(count))
        assert isinstance(own[-1], InputResult)
        assert own[-1].segment_count == count
    assert len(events) == 8 + 3


async def test_same_key_twice() -> None:
    """Keys need not be unique: inputs are told apart by their index."""
    events = await Bench(a=good(1)).all_of(text("a"), text("a"))
    assert sorted(event.input_index for event in events if isinstance(event, InputResult)) == [0, 1]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_inputs_at_once(at_once: int) -> None:
    """No more inputs of one request run at a time than are allowed."""
    bench = Bench(at_once, a=good(3))
    await bench.all_of(*[text("a")] * 10)
    assert bench.upstream.most_running == at_once
    assert len(bench.upstream.calls) == 10


async def test_failures_stay_with_their_input() -> None:
    """With several inputs a failure is in its result, and the others are answered."""
    failure = UpstreamFailure(Reason.INPUT_REJECTED, "no")
    bench = Bench(a=good(2), b=bad(failure, 1), c=bad(ValueError(SECRET)))
    with capture_logs():
        found = results(await bench.all_of(text("a"), text("b"), text("c")))
    assert found["a"].failure is None
    assert found["b"].failure is failure
    assert (found["b"].completion, found["b"].segment_count) == (None, 1)
    assert isinstance(found["c"].failure, InternalError)
    assert [bench.inputs(reason) for reason in ("OK", "INPUT_REJECTED", "INTERNAL")] == [1, 1, 1]
    assert bench.segments() == 3
    assert bench.in_flight() == 0


async def test_failure_of_the_only_input() -> None:
    """The failure of a single input is raised, after the segments that came before it."""
    failure = UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "gone")
    bench = Bench(a=bad(failure, 2))
    events = bench.events(text("a"))
    assert isinstance(await anext(events), InputSegment)
    assert isinstance(await anext(events), InputSegment)
    with pytest.raises(UpstreamFailure) as caught:
        await anext(events)
    assert caught.value is failure
    assert bench.inputs("UPSTREAM_UNAVAILABLE") == 1


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_unforeseen_exception(inputs: str) -> None:
    """Whatever nobody foresaw is INTERNAL; the text of the exception is neither in the answer nor in the log."""
    error = ValueError(SECRET)
    error.__cause__ = KeyError(SECRET)
    bench = Bench(a=bad(error), b=good())
    with capture_logs() as logs:
        failure: Any
        try:
            failure = results(await bench.all_of(*map(text, inputs)))["a"].failure
        except InternalError as raised:
            failure = raised
    assert isinstance(failure, InternalError)
    assert SECRET not in f"{failure} {failure!r} {failure.message} {logs}"
    assert [(log["log_level"], log["error_type"], log["causes"]) for log in logs] == [
        ("error", "builtins.ValueError", ["KeyError"])
    ]
    assert any("test_gateway.py" in frame for frame in logs[0]["places"])


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_leaked_cancellation(inputs: str) -> None:
    """A CancelledError that nobody asked for is a failure of its input, and cancels nothing else."""
    bench = Bench(a=bad(asyncio.CancelledError(SECRET)), b=good())
    with capture_logs():
        if inputs == "a":
            with pytest.raises(InternalError):
                await bench.all_of(text("a"))
        else:
            found = results(await bench.all_of(text("a"), text("b")))
            assert isinstance(found["a"].failure, InternalError)
            assert found["b"].failure is None
    assert bench.inputs("INTERNAL") == 1


@pytest.mark.parametrize("count", [1, 3], ids=["single", "several"])
async def test_real_cancellation(count: int) -> None:
    """A call that is cancelled ends as cancelled, with no upstream call left and no word in the log."""
    bench = Bench(a=stuck())
    files = [File() for _ in range(count)]
    task = asyncio.create_task(bench.all_of(*(image("a", file) for file in files)))
    while bench.upstream.running < count:
        await asyncio.sleep(0)
    assert bench.in_flight("image") == count
    task.cancel()
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await task
    assert logs == []
    assert bench.upstream.running == 0
    assert bench.in_flight("image") == 0
    assert bench.inputs("CANCELLED", "image") == count
    assert [file.closed for file in files] == [1] * count


@pytest.mark.parametrize("count", [1, 3], ids=["single", "several"])
async def test_early_close(count: int) -> None:
    """A caller that leaves in the middle ends every upstream call and gives back every file."""
    bench = Bench(a=stuck(2))
    files = [File() for _ in range(count)]
    events = bench.events(*(image("a", file) for file in files))
    await anext(events)
    await events.aclose()
    assert bench.upstream.running == 0
    assert bench.in_flight("image") == 0
    assert bench.inputs("CANCELLED", "image") == count
    assert [file.closed for file in files] == [1] * count


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(good(), "OK", id="answered"),
        pytest.param(bad(Overloaded("full")), "OVERLOADED", id="failed"),
        pytest.param(bad(ValueError()), "INTERNAL", id="unforeseen"),
        pytest.param(bad(asyncio.CancelledError()), "INTERNAL", id="leaked cancellation"),
    ],
)
async def test_file_is_given_back(answer: Answer, reason: str) -> None:
    """The file of an input is closed before its result is out, whatever that is."""
    bench, file = Bench(a=answer, b=good()), File()
    with capture_logs():
        async for event in bench.events(image("a", file), text("b")):
            if isinstance(event, InputResult) and event.input_key == "a":
                assert file.closed == 1
    assert file.closed == 1
    assert bench.inputs(reason, "image") == 1


async def test_bad_file() -> None:
    """A file that will never be good fails its input before the upstream is asked."""
    bench, file = Bench(a=good(), b=good()), File(Overloaded("full"))
    found = results(await bench.all_of(image("a", file), text("b")))
    assert found["a"].failure is file.fault
    assert found["a"].trace.attempts == 0
    assert [call.input.key for call in bench.upstream.calls] == ["b"]
    assert file.closed == 1


async def test_memory_file() -> None:
    """A file that is part of the request needs nothing closed."""
    item = ImageInput("a", FileSource(MemoryContent(b"x"), "a.png", "image/png"))
    assert results(await Bench(a=good()).all_of(item))["a"].failure is None


async def test_metrics_of_success() -> None:
    """Inputs and segments are counted by modality and model; while one runs it is in flight."""
    bench = Bench(a=good(3))
    events = bench.events(text("a"))
    await anext(events)
    assert bench.in_flight() == 1
    async for _ in events:
        pass
    assert bench.in_flight() == 0
    assert (bench.inputs("OK"), bench.segments()) == (1, 3)
    overhead = bench.metrics.registry.get_sample_value("embedwire_input_overhead_seconds_count", {"modality": "text"})
    assert overhead == 1


async def test_slow_caller_is_no_overhead() -> None:
    """The time that the caller takes is neither the server's overhead nor the upstream's."""
    bench = Bench(a=good(2))
    async for event in bench.events(text("a")):
        last = event
        await asyncio.sleep(0.05)
    assert isinstance(last, InputResult)
    assert last.trace.parked >= 0.1
    own = bench.metrics.registry.get_sample_value("embedwire_input_overhead_seconds_sum", {"modality": "text"})
    assert own is not None
    assert own < 0.05


async def test_segments_of_an_abandoned_input_are_counted() -> None:
    """What was sent on before the caller left is in the metrics."""
    bench = Bench(a=stuck(2))
    events = bench.events(text("a"))
    await anext(events)
    await anext(events)
    await events.aclose()

    assert bench.segments() == 2
