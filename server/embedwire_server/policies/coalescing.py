"""Request coalescing: identical texts and images that are in flight share one upstream request."""

import asyncio
import contextvars

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary
from embedwire_server.observability import trace_context
from embedwire_server.observability.log_lines import request_id
from embedwire_server.policies.cache.entry import Entry
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.policies.cache.store import ResultStore
from embedwire_server.policies.flight import Flight, Outcome
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

_Key = tuple[bytes, int | None]


class CoalescingPolicy:
    """Middleware that lets identical inputs in flight share one call of the next `Upstream`.

    The first of them starts a flight: a task with a call of its own. It ends early only when the last of its callers
    has left. Each caller gets a copy of its outcome, passed on by its own `emit`, so that a slow one delays no other.

    Args:
        upstream: the next one.
        keys: computes the keys: inputs with the same key have the same result.
        store: gets the result of each flight, before others can start another one; None if results are not cached.
    """

    def __init__(self, upstream: Upstream, keys: ResultKeys, store: ResultStore | None = None) -> None:
        self._upstream = upstream
        self._keys = keys
        self._store = store
        self._flights: dict[_Key, Flight] = {}  # those that can be joined
        self._tasks: set[asyncio.Task[Outcome]] = set()  # the event loop has weak references only

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input, together with identical ones; see `Upstream`."""
        found = None if call.modality is Modality.AUDIO else await self._keys.of(call)
        if found is None:
            return await self._upstream.embed(call, emit)
        key = found, call.max_retries  # which changes how a flight fails
        while True:
            flight = self._flights.get(key) or self._start(key, call)
            outcome = await self._outcome(key, flight, call)
            if isinstance(outcome, Entry):
                await emit(outcome.copies())
                return outcome.summary(call.input)
            if not flight.may_be_repeated(outcome, call):
                raise flight.failure(outcome)

    def _start(self, key: _Key, call: EmbedCall) -> Flight:
        flight = self._flights[key] = Flight(call)

        async def run() -> Outcome:
            try:
                outcome = await flight.run(self._upstream)
                if self._store is not None and isinstance(outcome, Entry):
                    self._store.put(key[0], outcome)
                return outcome
            finally:
                self._forget(key, flight)

        context = _context()
        flight.task = asyncio.create_task(run(), context=context)
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard, context=context)
        return flight

    def _forget(self, key: _Key, flight: Flight) -> None:
        """Let no more callers join a flight; another of the same key may have started since."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _outcome(self, key: _Key, flight: Flight, call: EmbedCall) -> Outcome:
        """Wait for the outcome. The last caller that leaves before it cancels the flight, and waits for its end."""
        seat = flight.join(call)
        try:
            await asyncio.wait([flight.task])
            return flight.task.result()
        finally:
            try:
                if flight.leave(call) and not flight.task.done():
                    self._forget(key, flight)
                    flight.task.cancel()
                    await asyncio.wait([flight.task])
            finally:  # also if the caller is cancelled again
                seat.add_statistics()


def _context() -> contextvars.Context:
    """Return a context with the request id and the trace of the starter only.

    A copy of its context would keep its call alive after it has left.
    """
    context, of_starter = contextvars.Context(), request_id.get(None)
    if of_starter is not None:
        context.run(request_id.set, of_starter)
    context.run(trace_context.current.set, trace_context.current.get())
    return context
