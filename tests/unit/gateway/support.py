"""Helpers of the tests of the gateway: upstream scripts, a recording reply, a gateway."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import GatewayError
from embedwire_server.core.inputs import EmbedRequest, FileSource, ImageInput, Input, TextInput
from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import ReplySummary, Segment, Stage
from embedwire_server.gateway.gateway import Gateway, Reply
from embedwire_server.observability.metrics import Metrics
from embedwire_server.testing import Attempt, Script, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall

SECRET = "the caller's words"
DEADLINE = 1e9


def numbered(number: int) -> Segment:
    return Segment(bytes([number % 256, 0, 0, 0]))


def good(count: int = 1) -> Script:
    """Return a script that emits this many segments one by one and succeeds."""

    async def script(attempt: Attempt) -> None:
        for number in range(count):
            await asyncio.sleep(0)
            await attempt.emit([numbered(number)])
        await asyncio.sleep(0)
        attempt.end(ReplySummary("m"))

    return script


def bad(error: BaseException, count: int = 0) -> Script:
    """Return a script that emits this many segments and fails."""

    async def script(attempt: Attempt) -> None:
        for number in range(count):
            await attempt.emit([numbered(number)])
        await asyncio.sleep(0)
        raise error

    return script


def stuck(count: int = 0) -> Script:
    """Return a script that emits this many segments and never ends."""

    async def script(attempt: Attempt) -> None:
        for number in range(count):
            await attempt.emit([numbered(number)])

    return script


async def settled() -> None:
    """Let all tasks run until they wait."""
    for _ in range(200):
        await asyncio.sleep(0)


@dataclasses.dataclass
class Result:
    """The result of one input, as it was added to a reply."""

    call: EmbedCall
    summary: ReplySummary | None
    failure: GatewayError | None


@dataclasses.dataclass
class Recorder:
    """A reply that records what is added, one segment at a time, while it is open.

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

    async def add_progress(self, call: EmbedCall, stage: Stage) -> None:
        """Accept a new stage."""

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        await self._added(call, is_result=True)
        self.results[call.input.key] = Result(call, summary, failure)

    def numbers(self, key: str) -> list[tuple[int, int]]:
        """Return the number of each segment of an input and the first value of its vector."""
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
    """A file that counts how often it is closed; `ready` raises `fault`, if set."""

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
    """A gateway, its metrics, and an upstream with a script per input key and a default script."""

    def __init__(
        self, inputs_at_once: int = 16, queued: int = 256, others: Script = Attempt.succeed, **scripts: Script
    ) -> None:
        self.metrics = Metrics("scripted")
        self.upstream = ScriptedUpstream(lambda attempt: scripts.get(attempt.call.input.key, others)(attempt))
        admission = LoadShedder(self.metrics, in_flight=64, queued=queued, content_bytes=1 << 20)
        self.gateway = Gateway(self.upstream, admission, self.metrics, inputs_at_once)

    async def embed(self, *inputs: Input, reply: Reply | None = None) -> Recorder:
        """Embed these inputs; return the reply, by default a new `Recorder`."""
        recorder = Recorder()
        await self.gateway.embed(request(*inputs), DEADLINE, reply or recorder)
        return recorder

    def begin(self, *inputs: Input, reply: Reply) -> asyncio.Task[Recorder]:
        return asyncio.create_task(self.embed(*inputs, reply=reply))

    def begun(self) -> list[str]:
        """Return the keys of the inputs in the order of their upstream requests."""
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
    """Cancel a task and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
