"""One request: its inputs to the upstream and their answers back, in every ending."""

import asyncio
import dataclasses
import gc
import time
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from structlog.testing import capture_logs

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import (
    GatewayError,
    InternalError,
    Overloaded,
    Reason,
    ReplyTooLarge,
    UpstreamFailure,
)
from embedwire_server.core.inputs import EmbedRequest, FileSource, ImageInput, Input, TextInput
from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.gateway.gateway import Gateway, Reply
from embedwire_server.media.spool import InMemoryContent
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.retry import RetryPolicy
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.rpc.unary_reply import MAX_REPLY_BYTES, UnaryReply
from embedwire_server.testing import Attempt, Script, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall

SECRET = "the caller's words"
DEADLINE = 1e9


def numbered(number: int) -> Segment:
    return Segment(bytes([number % 256, 0, 0, 0]))


def good(count: int = 1) -> Script:
    """Pass so many segments on, each by itself, and succeed."""

    async def script(attempt: Attempt) -> None:
        for number in range(count):
            await asyncio.sleep(0)
            await attempt.emit([numbered(number)])
        await asyncio.sleep(0)
        attempt.end(ReplySummary("m"))

    return script


def bad(error: BaseException, count: int = 0) -> Script:
    """Pass so many segments on, and fail."""

    async def script(attempt: Attempt) -> None:
        for number in range(count):
            await attempt.emit([numbered(number)])
        await asyncio.sleep(0)
        raise error

    return script


def stuck(count: int = 0) -> Script:
    """Pass so many segments on, and never end."""

    async def script(attempt: Attempt) -> None:
        for number in range(count):
            await attempt.emit([numbered(number)])

    return script


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(200):
        await asyncio.sleep(0)


@dataclasses.dataclass
class Result:
    """The end of one input, as a reply was given it."""

    call: EmbedCall
    summary: ReplySummary | None
    failure: GatewayError | None


@dataclasses.dataclass
class Recorder:
    """A reply that keeps what it is given, one segment after the other, while it is open.

    Attributes:
        segments: key, index and number of each segment, and the segment.
        results: by the key of their inputs; the last one, if there are several.
        order: the index of each input of which something was added, and whether that was its result.
        offered: segments with which it was called.
        adding: how many additions were under way at a time, at most.
    """

    is_open: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    segments: list[tuple[str, int, int, Segment]] = dataclasses.field(default_factory=list)
    results: dict[str, Result] = dataclasses.field(default_factory=dict)
    order: list[tuple[int, bool]] = dataclasses.field(default_factory=list)
    offered: int = 0
    adding: int = 0
    most_adding: int = 0

    def __post_init__(self) -> None:
        self.is_open.set()

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        self.offered += len(segments)
        await self._added(call, is_result=False)
        self.segments += [(call.input.key, call.index, number, found) for number, found in enumerate(segments, first)]

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        await self._added(call, is_result=True)
        self.results[call.input.key] = Result(call, summary, failure)

    def numbers(self, key: str) -> list[tuple[int, int]]:
        """The number of each segment of an input, and what its vector says."""
        return [(number, found.vector[0]) for own, _, number, found in self.segments if own == key]

    async def _added(self, call: EmbedCall, *, is_result: bool) -> None:
        self.order.append((call.index, is_result))
        self.adding += 1
        self.most_adding = max(self.most_adding, self.adding)
        try:
            await asyncio.sleep(0)
            await self.is_open.wait()
        finally:
            self.adding -= 1


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
    """A gateway with its upstream, which answers each input by its key, or by that of all others, and its metrics."""

    def __init__(
        self, inputs_at_once: int = 16, queued: int = 256, others: Script = Attempt.succeed, **scripts: Script
    ) -> None:
        self.metrics = Metrics("scripted")
        self.upstream = ScriptedUpstream(lambda attempt: scripts.get(attempt.call.input.key, others)(attempt))
        admission = LoadShedder(self.metrics, in_flight=64, queued=queued, content_bytes=1 << 20)
        self.gateway = Gateway(self.upstream, admission, self.metrics, inputs_at_once)

    async def embed(self, *inputs: Input, reply: Reply | None = None) -> Recorder:
        """Embed these; the reply, if it is not another one."""
        recorder = Recorder()
        await self.gateway.embed(request(*inputs), DEADLINE, reply or recorder)
        return recorder

    def begin(self, *inputs: Input, reply: Reply) -> asyncio.Task[Recorder]:
        return asyncio.create_task(self.embed(*inputs, reply=reply))

    def begun(self) -> list[str]:
        """The keys of the inputs, in the order in which the upstream was asked for them."""
        return [attempt.call.input.key for attempt in self.upstream.attempts]

    def inputs(self, reason: str, modality: str = "text") -> float | None:
        labels = {"modality": modality, "model": "marengo3.0", "reason": reason}
        return self.metrics.registry.get_sample_value("embedwire_inputs_total", labels)

    def segments(self, modality: str = "text") -> float | None:
        labels = {"modality": modality, "model": "marengo3.0"}
        return self.metrics.registry.get_sample_value("embedwire_segments_total", labels)

    def in_flight(self, modality: str = "text") -> float | None:
        return self.metrics.registry.get_sample_value("embedwire_inputs_in_flight", {"modality": modality})


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_segments_that_arrive_together() -> None:
    """They are passed on together, and numbered on after those that came before."""

    async def script(attempt: Attempt) -> None:
        await attempt.emit([numbered(number) for number in range(2)])
        await attempt.emit([numbered(number) for number in range(2, 5)])
        attempt.end()

    reply = await Bench(a=script).embed(text("a"))
    assert reply.numbers("a") == [(number, number) for number in range(5)]
    assert reply.order == [(0, False), (0, False), (0, True)]
    assert reply.results["a"].call.segments == 5


async def test_one_input() -> None:
    """The segments come in order, numbered, then the result with what the upstream said."""
    reply = await Bench(a=good(3)).embed(text("a"))
    assert reply.numbers("a") == [(0, 0), (1, 1), (2, 2)]
    assert reply.order == [(0, False)] * 3 + [(0, True)]
    result = reply.results["a"]
    assert (result.call.index, result.call.input.key, result.call.segments) == (0, "a", 3)
    assert (result.summary, result.failure, result.call.model) == (ReplySummary("m"), None, MARENGO_30)
    assert (result.call.attempts, result.call.upstream) == (1, "scripted")


async def test_call() -> None:
    """The upstream is given the input, the model, the deadline and the retries as they are."""
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
    """Keys need not be unique: inputs are told apart by their index."""
    reply = await Bench(a=good(1)).embed(text("a"), text("a"))
    assert sorted(index for index, is_result in reply.order if is_result) == [0, 1]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_inputs_at_once(at_once: int) -> None:
    """No more inputs of one request run at a time than are allowed."""
    bench = Bench(at_once, a=good(3))
    await bench.embed(*[text("a")] * 10)
    assert bench.upstream.most_running == at_once
    assert len(bench.upstream.attempts) == 10


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
async def test_everything_in_order(at_once: int) -> None:
    """Inputs begin in their order, as many as may at a time; every segment comes once, in the order of its input."""
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
    """What is ready comes first: an input that waits holds up no other."""
    bench, reply = Bench(3, a=stuck(), b=good(2), c=good(2)), Recorder()
    task = bench.begin(*map(text, "abc"), reply=reply)
    await settled()
    assert {(key, number) for key, _, number, _ in reply.segments} == {("b", 0), ("b", 1), ("c", 0), ("c", 1)}
    assert set(reply.results) == {"b", "c"}
    await cancelled(task)


async def test_one_after_the_other() -> None:
    """One at a time means in their order, from the first segment to the result of the last."""
    reply = await Bench(1, a=good(2), b=good(2)).embed(text("a"), text("b"))
    assert reply.order == [(0, False), (0, False), (0, True), (1, False), (1, False), (1, True)]


@pytest.mark.parametrize("at_once", [1, 2, 4])
async def test_back_pressure(at_once: int) -> None:
    """A reply that takes no segments stops every upstream before it decodes more than one further batch."""
    emitted = dict.fromkeys("abcdef", 0)

    async def script(attempt: Attempt) -> None:
        for number in range(1000):
            emitted[attempt.call.input.key] += 1
            await attempt.emit([numbered(number)])

    bench, reply = Bench(at_once, others=script), Recorder()
    task = bench.begin(*map(text, "abcdef"), reply=reply)
    while len(reply.segments) < 20:
        await asyncio.sleep(0)
    reply.is_open.clear()
    await settled()
    before = dict(emitted)
    taken = {key: len(reply.numbers(key)) for key in emitted}
    await settled()
    assert emitted == before
    assert all(count <= taken[key] + 1 for key, count in emitted.items())
    assert sum(emitted.values()) <= sum(taken.values()) + at_once
    await cancelled(task)


async def test_back_pressure_of_one_input() -> None:
    """A single input is decoded only as far as its segments are taken."""
    bench, reply = Bench(a=stuck(1000)), Recorder()
    reply.is_open.clear()
    task = bench.begin(text("a"), reply=reply)
    await settled()
    assert reply.offered == 1
    await cancelled(task)


async def test_inputs_add_to_the_reply_one_at_a_time() -> None:
    """While one input adds to the reply, the others that have something for it wait."""
    bench, reply = Bench(others=good(5)), Recorder()
    await bench.embed(*map(text, "abcd"), reply=reply)
    assert bench.upstream.most_running == 4
    assert reply.most_adding == 1
    assert len(reply.order) == 4 * (5 + 1)


async def test_failures_stay_with_their_input() -> None:
    """With several inputs a failure is in its result, and the others are answered."""
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
    """The failure of a single input is raised, after the segments that came before it."""
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
    """Whatever nobody foresaw is INTERNAL; the text of the exception is neither in the answer nor in the log."""
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
    assert any("test_gateway.py" in frame for frame in logs[0]["places"])


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_leaked_cancellation(inputs: str) -> None:
    """A CancelledError that nobody asked for is a failure of its input, and cancels nothing else."""
    bench = Bench(a=bad(asyncio.CancelledError(SECRET)), b=good())
    with capture_logs():
        if inputs == "a":
            with pytest.raises(InternalError):
                await bench.embed(text("a"))
        else:
            found = (await bench.embed(text("a"), text("b"))).results
            assert isinstance(found["a"].failure, InternalError)
            assert found["b"].failure is None
    assert bench.inputs("INTERNAL") == 1


@pytest.mark.parametrize("is_parked", [False, True], ids=["while waiting", "while parked"])
@pytest.mark.parametrize("count", [1, 3], ids=["single", "several"])
async def test_real_cancellation(count: int, *, is_parked: bool) -> None:
    """A call that is cancelled ends as cancelled, with no upstream call left and no word in the log."""
    bench, reply = Bench(a=stuck(1)), Recorder()
    if is_parked:
        reply.is_open.clear()
    files = [File() for _ in range(count)]
    task = bench.begin(*(image("a", file) for file in files), reply=reply)
    await settled()
    assert bench.upstream.running == count
    assert len(reply.segments) == (0 if is_parked else count)
    assert bench.in_flight("image") == count
    with capture_logs() as logs:
        await cancelled(task)
    assert logs == []
    assert bench.upstream.running == 0
    assert bench.in_flight("image") == 0
    assert bench.inputs("CANCELLED", "image") == count
    assert [file.closed for file in files] == [1] * count


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("inputs", ["a", "abc"], ids=["single", "several"])
async def test_a_caller_that_leaves_in_the_middle(inputs: str, at_once: int) -> None:
    """Every input that has begun ends, and no other begins."""
    bench, reply = Bench(at_once, others=stuck(1000)), Recorder()
    task = bench.begin(*map(text, inputs), reply=reply)
    while len(reply.segments) < 5:
        await asyncio.sleep(0)
    running = min(at_once, len(inputs))
    assert bench.upstream.running == running
    await cancelled(task)
    assert bench.upstream.running == 0
    assert bench.begun() == list(inputs[:running])
    assert bench.inputs("CANCELLED") == running
    assert reply.results == {}


@dataclasses.dataclass
class Refusing(Recorder):
    """A reply that takes some segments, and then raises."""

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
    """What the reply raises ends the call as it is: it is no failure of an input, and no other input begins."""
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
async def test_an_answer_that_is_too_large(inputs: str) -> None:
    """The reply of a unary call that has no more room ends the call with REPLY_TOO_LARGE, and files are given back."""

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
    """What the reply raises for a result ends the call too; the input itself has been answered."""

    @dataclasses.dataclass
    class Full(Recorder):
        async def add_result(self, *_: object) -> None:
            raise ReplyTooLarge("too large")

    bench = Bench(a=good(), b=stuck())
    with pytest.raises(ReplyTooLarge):
        await bench.embed(text("a"), text("b"), reply=Full())
    assert (bench.inputs("OK"), bench.inputs("CANCELLED")) == (1, 1)


async def test_a_refused_request_begins_nothing() -> None:
    """Where there is no room for a request, none of its inputs is begun or told."""
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


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(good(), "OK", id="answered"),
        pytest.param(bad(Overloaded("full")), "OVERLOADED", id="failed"),
        pytest.param(bad(ValueError()), "INTERNAL", id="log_unexpected"),
        pytest.param(bad(asyncio.CancelledError()), "INTERNAL", id="leaked cancellation"),
    ],
)
async def test_file_is_given_back(script: Script, reason: str) -> None:
    """The file of an input is closed before its result is out, whatever that is."""
    file = File()
    closed: dict[str, int] = {}

    @dataclasses.dataclass
    class Looking(Recorder):
        async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
            closed[call.input.key] = file.closed
            await super().add_result(call, summary, failure)

    bench = Bench(a=script, b=good())
    with capture_logs():
        await bench.embed(image("a", file), text("b"), reply=Looking())
    assert closed["a"] == 1
    assert file.closed == 1
    assert bench.inputs(reason, "image") == 1


async def test_bad_file() -> None:
    """A file that will never be good fails its input before the upstream is asked."""
    bench, file = Bench(a=good(), b=good()), File(Overloaded("full"))
    found = (await bench.embed(image("a", file), text("b"))).results
    assert found["a"].failure is file.fault
    assert found["a"].call.attempts == 0
    assert bench.begun() == ["b"]
    assert file.closed == 1


async def test_memory_file() -> None:
    """A file that is part of the request needs nothing closed."""
    item = ImageInput("a", FileSource(InMemoryContent(b"x"), "a.png", "image/png"))
    assert (await Bench(a=good()).embed(item)).results["a"].failure is None


async def test_metrics_of_success() -> None:
    """Inputs and segments are counted by modality and model; while one runs it is in flight."""
    bench, reply = Bench(a=good(3)), Recorder()
    reply.is_open.clear()
    task = bench.begin(text("a"), reply=reply)
    await settled()
    assert bench.in_flight() == 1
    reply.is_open.set()
    await task
    assert bench.in_flight() == 0
    assert (bench.inputs("OK"), bench.segments()) == (1, 3)
    overhead = bench.metrics.registry.get_sample_value("embedwire_gateway_overhead_seconds_count", {"modality": "text"})
    assert overhead == 1


async def test_slow_caller_is_no_overhead() -> None:
    """The time that the caller takes is neither the server's overhead nor the upstream's."""

    @dataclasses.dataclass
    class Slow(Recorder):
        async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
            await asyncio.sleep(0.05)
            await super().add_segments(call, first, segments)

    bench, reply = Bench(a=good(2)), Slow()
    began = time.perf_counter()
    await bench.embed(text("a"), reply=reply)
    taken = time.perf_counter() - began
    call = reply.results["a"].call
    own = bench.metrics.registry.get_sample_value("embedwire_gateway_overhead_seconds_sum", {"modality": "text"})
    assert own is not None
    assert call.parked > 0.09
    assert own + call.waiting + call.parked <= taken


async def test_segments_of_an_abandoned_input_are_counted() -> None:
    """What was sent on before the caller left is in the metrics."""
    bench, reply = Bench(a=stuck(2)), Recorder()
    task = bench.begin(text("a"), reply=reply)
    await settled()
    assert len(reply.segments) == 2
    await cancelled(task)

    assert bench.segments() == 2


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_a_failure_leaves_no_cycle(inputs: str) -> None:
    """An input that fails is freed without the garbage collector, with all that was known of it."""

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
