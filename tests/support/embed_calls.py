"""Calls that embed one input, and their outcome, for tests of upstreams without a network."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

from embedwire_server.core.errors import Reason, RetrySafety, UpstreamErrorInfo, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, Caller, FileSource, ImageInput, Input, TextInput, UrlSource
from embedwire_server.core.models import MARENGO_30
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall, Upstream

SEGMENT = Segment(b"\0\0\0\0")
FAR = 1e9
KEYS = ResultKeys("https://upstream.test", None)


@dataclasses.dataclass
class Embedded:
    """The segments that one call emitted, in batches, and its summary."""

    batches: list[list[Segment]]
    summary: ReplySummary


# `ScriptedUpstream` answers a text with this by default.
ANSWER = Embedded([[Segment(bytes(4 * MARENGO_30.dimensions))]], ReplySummary(MARENGO_30.name))


def an_input(modality: str = "text", key: str = "") -> Input:
    if modality == "text":
        return TextInput(key, "a red fox")
    if modality == "image":
        return ImageInput(key, FileSource(InMemoryContent(b"x"), "a.png", "image/png"))
    return AudioInput(key, UrlSource("http://media.test/a.mp3"))


def texts(count: int) -> tuple[Input, ...]:
    return tuple(an_input() for _ in range(count))


def call(
    modality: str = "text",
    *,
    deadline: float = FAR,
    caller: Caller = ("host", "1"),
    credential: str | None = None,
    max_retries: int | None = None,
    item: Input | None = None,
) -> EmbedCall:
    return EmbedCall(
        item or an_input(modality), MARENGO_30, deadline, max_retries=max_retries, credential=credential, caller=caller
    )


def refusal(
    status: int,
    reason: Reason = Reason.UPSTREAM_UNAVAILABLE,
    retry_safety: RetrySafety = RetrySafety.SAFE,
    retry_delay: float | None = None,
) -> UpstreamFailure:
    return UpstreamFailure(
        reason, "no", retry_delay=retry_delay, upstream=UpstreamErrorInfo(status), retry_safety=retry_safety
    )


def limited(retry_delay: float | None = None) -> UpstreamFailure:
    return refusal(429, Reason.UPSTREAM_RATE_LIMITED, retry_delay=retry_delay)


def undecided(_: Attempt) -> None:
    """A script whose attempts end when the test decides."""


def times(upstream: ScriptedUpstream) -> list[float]:
    """The start times of the attempts."""
    return [attempt.at for attempt in upstream.attempts]


async def embedded(upstream: Upstream, wanted: EmbedCall) -> Embedded:
    """Make one call, and collect what it emits."""
    batches: list[list[Segment]] = []

    async def emit(segments: list[Segment]) -> None:
        batches.append(segments)

    summary = await upstream.embed(wanted, emit)
    return Embedded(batches, summary)


def start(upstream: Upstream, *wanted: EmbedCall) -> list[asyncio.Task[Embedded]]:
    return [asyncio.create_task(embedded(upstream, one)) for one in wanted]


async def gathered(tasks: Sequence[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0
