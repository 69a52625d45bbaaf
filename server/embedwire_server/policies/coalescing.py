"""Request coalescing: identical texts and images that are in flight share one upstream request."""

import asyncio
import contextvars
import copy
from collections.abc import Awaitable, Callable, Hashable

from embedwire_server.core.inputs import FileSource, ImageInput, Input
from embedwire_server.core.results import ReplySummary
from embedwire_server.observability import trace_context
from embedwire_server.observability.log_lines import request_id
from embedwire_server.policies.flight import Flight, Outcome
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

# Returns the identity of the result of an input; None if it shares no request.
KeyOf = Callable[[EmbedCall], Awaitable[Hashable | None]]


class CoalescingPolicy:
    """Middleware that lets identical inputs in flight share one call of the next `Upstream`.

    The first of them starts a flight: a task with a call of its own. It ends early only when the last of its callers
    has left. Each caller gets a copy of its outcome, passed on by its own `emit`, so that a slow one delays no other.

    Args:
        upstream: the next one.
        key_of: returns the identity of a result.
    """

    def __init__(self, upstream: Upstream, key_of: KeyOf) -> None:
        self._upstream = upstream
        self._key_of = key_of
        self._flights: dict[Hashable, Flight] = {}  # those that can be joined
        self._tasks: set[asyncio.Task[Outcome]] = set()  # the event loop has weak references only

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input, together with identical ones; see `Upstream`."""
        found = await self._key_of(call)
        if found is None:
            return await self._upstream.embed(call, emit)
        key = (found, *_behaviour(call))
        while True:
            flight = self._flights.get(key) or self._start(key, call)
            outcome = await self._outcome(key, flight, call)
            if not isinstance(outcome, BaseException):
                break
            if not flight.may_be_repeated(outcome, call):
                raise flight.failure(outcome)
        segments, summary = outcome
        await emit([copy.copy(segment) for segment in segments])
        return _own_summary(summary, call.input)

    def _start(self, key: Hashable, call: EmbedCall) -> Flight:
        flight = self._flights[key] = Flight(call)

        async def run() -> Outcome:
            try:
                return await flight.run(self._upstream)
            finally:
                self._forget(key, flight)

        context = _context()
        flight.task = asyncio.create_task(run(), context=context)
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard, context=context)
        return flight

    def _forget(self, key: Hashable, flight: Flight) -> None:
        """Let no more callers join a flight; another of the same key may have started since."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _outcome(self, key: Hashable, flight: Flight, call: EmbedCall) -> Outcome:
        """Wait for the outcome. The last caller that leaves before it cancels the flight, and waits for its end."""
        seat = flight.join(call)
        try:
            await asyncio.wait([flight.task])
            return flight.task.result()
        finally:
            if flight.leave(call) and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])
            seat.add_statistics()


def _behaviour(call: EmbedCall) -> tuple[Hashable, ...]:
    """Return what changes a flight besides its result: its retries, and the type of its file."""
    source = call.input.source if isinstance(call.input, ImageInput) else None
    return call.max_retries, source.media_type if isinstance(source, FileSource) else None


def _own_summary(summary: ReplySummary, item: Input) -> ReplySummary:
    """Return a copy for one caller, with the name of its file."""
    own = copy.copy(summary)
    own.input_tokens = None if summary.input_tokens is None else dict(summary.input_tokens)
    if summary.input_filename is not None and isinstance(item, ImageInput) and isinstance(item.source, FileSource):
        own.input_filename = item.source.file_name
    return own


def _context() -> contextvars.Context:
    """Return a context with the request id and the trace of the starter only.

    A copy of its context would keep its call alive after it has left.
    """
    context, of_starter = contextvars.Context(), request_id.get(None)
    if of_starter is not None:
        context.run(request_id.set, of_starter)
    context.run(trace_context.current.set, trace_context.current.get())
    return context
