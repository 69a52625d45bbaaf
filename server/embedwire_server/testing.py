"""Fake upstream without a network, for tests and for applications that embed the server."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall, Emit

_FLOAT32_BYTES = 4


@dataclasses.dataclass(eq=False)
class Attempt:
    """One attempt to embed an input. It waits for `answer`, which `succeed`, `end` and `fail` set.

    Attributes:
        call: the upstream call for the input.
        emit: passes segments on before the end; see `upstreams.base.Emit`.
        at: the start, by the clock of the event loop.
        answer: the outcome: the batches of segments that are still to be passed on, and the summary.
    """

    call: EmbedCall
    emit: Emit
    at: float
    answer: asyncio.Future[tuple[tuple[list[Segment], ...], ReplySummary]]

    def succeed(self, *batches: list[Segment], summary: ReplySummary | None = None, exhausted_for: float = 0.0) -> None:
        """Let the attempt succeed.

        Args:
            batches: segments that are passed on first, those of a batch together; by default one vector of zeros.
            summary: the upstream's summary of the input; by default only the name of its model.
            exhausted_for: seconds for which the upstream's headers ask the next request to wait.
        """
        self.call.exhausted_for = exhausted_for
        self.answer.set_result((batches or ([self._zeros()],), summary or ReplySummary(self.call.model.name)))

    def end(self, summary: ReplySummary | None = None) -> None:
        """Let the attempt succeed without further segments: all have been passed on by `emit`."""
        self.answer.set_result(((), summary or ReplySummary(self.call.model.name)))

    def fail(self, error: BaseException, exhausted_for: float = 0.0) -> None:
        """Let the attempt raise this, for instance an `UpstreamFailure`; `exhausted_for` as for `succeed`."""
        self.call.exhausted_for = exhausted_for
        self.answer.set_exception(error)

    def _zeros(self) -> Segment:
        start = 0.0 if self.call.modality is Modality.AUDIO else None
        return Segment(bytes(_FLOAT32_BYTES * self.call.model.dimensions), start)


Script = Callable[[Attempt], Awaitable[None] | None]


class ScriptedUpstream:
    """An `Upstream` for which a script decides the outcome of each attempt.

    Args:
        script: called with each attempt; may be a coroutine function. It ends the attempt by `succeed` or `fail`, or
            leaves that to the test. What it raises, the attempt raises. By default, each attempt succeeds.
        name: the name of this upstream in results.

    Attributes:
        script: the script; may be changed.
        attempts: all attempts, in the order of their start.
        running: how many run now.
        most_running: the most that ran at a time.
    """

    def __init__(self, script: Script = Attempt.succeed, name: str = "scripted") -> None:
        self.script = script
        self.name = name
        self.attempts: list[Attempt] = []
        self.running = 0
        self.most_running = 0

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt; see `Upstream`."""
        loop = asyncio.get_running_loop()
        attempt = Attempt(call, emit, loop.time(), loop.create_future())
        self.attempts.append(attempt)
        call.attempts += 1
        call.upstream, call.endpoint, call.exhausted_for = self.name, call.model.endpoint, 0.0
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            batches, summary = await self._answer(attempt)
            for batch in batches:
                await emit(batch)
            return summary
        finally:
            self.running -= 1

    async def _answer(self, attempt: Attempt) -> tuple[tuple[list[Segment], ...], ReplySummary]:
        call, began, parked = attempt.call, time.perf_counter(), attempt.call.parked
        try:
            if (scripted := self.script(attempt)) is not None:
                await scripted
            return await attempt.answer
        finally:
            call.waiting += time.perf_counter() - began - (call.parked - parked)
