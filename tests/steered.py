"""An upstream without a network: what a test says becomes of each attempt."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from virtual_time import now

from embedwire_server.content import MemoryContent
from embedwire_server.domain import (
    AudioInput,
    Caller,
    Completion,
    FileSource,
    ImageInput,
    Input,
    Segment,
    TextInput,
    UrlSource,
)
from embedwire_server.errors import Reason, Repeatable, UpstreamFailure, UpstreamSaid
from embedwire_server.metrics import Metrics
from embedwire_server.models import MARENGO_30
from embedwire_server.upstream import Part, Upstream, UpstreamCall

SEGMENT = Segment(b"\0\0\0\0")
ANSWER: tuple[Part, ...] = ([SEGMENT], Completion("m"))
FAR = 1e9


def an_input(modality: str = "text", key: str = "") -> Input:
    if modality == "text":
        return TextInput(key, "a red fox")
    if modality == "image":
        return ImageInput(key, FileSource(MemoryContent(b"x"), "a.png", "image/png"))
    return AudioInput(key, UrlSource("http://media.test/a.mp3"))


def call(
    modality: str = "text",
    *,
    deadline: float = FAR,
    caller: Caller = ("host", "1"),
    key: str | None = None,
    max_retries: int | None = None,
    item: Input | None = None,
) -> UpstreamCall:
    return UpstreamCall(
        item or an_input(modality), MARENGO_30, deadline, max_retries=max_retries, key=key, caller=caller
    )


def refusal(
    status: int,
    reason: Reason = Reason.UPSTREAM_UNAVAILABLE,
    repeatable: Repeatable = Repeatable.YES,
    retry_delay: float | None = None,
) -> UpstreamFailure:
    return UpstreamFailure(reason, "no", retry_delay=retry_delay, upstream=UpstreamSaid(status), repeatable=repeatable)


def limited(retry_delay: float | None = None) -> UpstreamFailure:
    return refusal(429, Reason.UPSTREAM_RATE_LIMITED, retry_delay=retry_delay)


@dataclasses.dataclass
class Visit:
    """One attempt, its time, and the future of its answer."""

    call: UpstreamCall
    at: float
    answer: asyncio.Future[Sequence[Part]]

    def succeed(self, *parts: Part, hold: float = 0.0) -> None:
        self.call.trace.hold = hold
        self.answer.set_result(parts or ANSWER)

    def fail(self, failure: Exception, hold: float = 0.0) -> None:
        self.call.trace.hold = hold
        self.answer.set_exception(failure)


class Steered:
    """Answers when and what the test says, or at once if it is given a way to.

    Args:
        react: called with each visit; it may settle it, or leave it to the test.
    """

    def __init__(self, react: Callable[[Visit], None] = lambda _: None) -> None:
        self.react = react
        self.visits: list[Visit] = []
        self.running = 0
        self.most_running = 0

    @property
    def times(self) -> list[float]:
        return [visit.at for visit in self.visits]

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        visit = Visit(call, now(), asyncio.get_running_loop().create_future())
        self.visits.append(visit)
        call.trace.attempts += 1
        call.trace.hold = 0.0
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.react(visit)
            with call.trace.time("waiting"):
                parts = await visit.answer
            for part in parts:
                yield part
        finally:
            self.running -= 1


async def parts_of(upstream: Upstream, wanted: UpstreamCall) -> list[Part]:
    return [part async for part in upstream.embed(wanted)]


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def texts(count: int) -> tuple[Input, ...]:
    return tuple(an_input() for _ in range(count))


def start(upstream: Upstream, *wanted: UpstreamCall) -> list[asyncio.Task[list[Part]]]:
    return [asyncio.create_task(parts_of(upstream, one)) for one in wanted]


async def gathered(tasks: Sequence[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)
