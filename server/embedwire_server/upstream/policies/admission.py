"""How much is taken on at once: by modality, so that audio that waits for quota does not starve text, and in bytes.

A call is taken on or refused as a whole, before its first event, so that a client may retry it. Taken on,
its inputs wait their turn for one of the places in flight, but are never refused.
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator

from embedwire_server.domain import Caller, Completion, EmbedRequest, Modality, Segment
from embedwire_server.errors import Overloaded
from embedwire_server.metrics import Metrics
from embedwire_server.upstream import Upstream, UpstreamCall
from embedwire_server.upstream.policies.places import Places

# However much one caller has queued, some of the queue is left for the next: a host may hold so many times what
# is free, one of its connections only half of that. A lone host gets eight ninths, its first connection four fifths.
_TIMES_FREE = (8, 4)
_LEAST_DELAY, _LONGEST_DELAY = 0.1, 30.0
_RECENT = 0.05  # the weight of the newest figure in a moving average
# So much of the content that still fits may come in one call: files that wait for quota leave room for texts.
_SHARE_OF_CONTENT = 0.5


class Admission:
    """The places for inputs and the memory for their content.

    Args:
        metrics: told of what is held, waits and is refused.
        in_flight: inputs of each modality that run at a time, of each credential. The door bounds them all together.
        queued: inputs of each modality that wait beside those.
        content_bytes: bytes of content in memory, all calls together.
    """

    def __init__(self, metrics: Metrics, *, in_flight: int, queued: int, content_bytes: int) -> None:
        self._metrics = metrics
        self._in_flight = in_flight
        self._rooms = {modality: _Room(metrics, modality, in_flight, queued) for modality in Modality}
        self._places: dict[tuple[str | None, Modality], Places] = {}
        self._most_bytes = content_bytes
        self._bytes = 0

    @contextlib.contextmanager
    def admit(self, request: EmbedRequest, at_once: int) -> Iterator[None]:
        """Hold the room that a request needs while `at_once` of its inputs run at a time.

        Raises:
            Overloaded: there is none, with the time after which there may be.
        """
        needs = Counter(item.modality for item in request.inputs)
        size = min(request.content_bytes, self._most_bytes)
        if self._bytes and size > _SHARE_OF_CONTENT * (self._most_bytes - self._bytes):
            self._metrics.refusals.labels("content_bytes").inc()
            delay = max(self._rooms[modality].delay() for modality in needs)
            raise Overloaded("too much content is in memory; retry later", retry_delay=delay)
        with contextlib.ExitStack() as held:
            for modality, count in needs.items():
                held.enter_context(self._rooms[modality].taken(request.caller, min(count, at_once)))
            self._hold(size)
            held.callback(self._hold, -size)
            yield

    @contextlib.asynccontextmanager
    async def place(self, call: UpstreamCall) -> AsyncGenerator[None]:
        """Wait for a place among the inputs of this credential and modality that run, and hold it."""
        name = (call.key, call.input.modality)
        places = self._places.get(name)
        if places is None:
            places = self._places[name] = Places(self._in_flight, self._metrics.inputs_queued.labels(name[1]))
        try:
            async with places.held(call):
                yield
        finally:
            if places.is_idle:
                self._places.pop(name, None)

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._metrics.content_bytes.set(self._bytes)


class AdmittedUpstream:
    """Runs so many inputs of each modality at a time, see `Upstream`.

    Args:
        upstream: gets them.
        admission: has the places.
    """

    def __init__(self, upstream: Upstream, admission: Admission) -> None:
        self._upstream = upstream
        self._admission = admission

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Segment | Completion]:
        """Embed one input once there is a place for it."""
        async with (
            self._admission.place(call),
            contextlib.aclosing(self._upstream.embed(call)) as parts,
        ):
            async for part in parts:
                yield part


class _Room:
    """The room for inputs of one modality. Those taken on together never need more than `in_flight` and `queued`."""

    def __init__(self, metrics: Metrics, modality: Modality, in_flight: int, queued: int) -> None:
        self._metrics = metrics
        self._modality = modality
        self._in_flight = in_flight
        self._most = in_flight + queued
        self._taken = 0
        self._held = (Counter[tuple[str, ...]](), Counter[tuple[str, ...]]())  # by host, and by connection
        self._seconds = 0.0  # how long calls took, recently

    def delay(self) -> float:
        """Seconds after which a refused caller should find room; not the same for all of them."""
        return min(max(self._seconds, _LEAST_DELAY), _LONGEST_DELAY) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret

    @contextlib.contextmanager
    def taken(self, caller: Caller, count: int) -> Iterator[None]:
        """Take on a call that runs up to `count` inputs at a time.

        Raises:
            Overloaded: it does not fit, or its caller already holds its share.
        """
        count = min(count, self._most)
        if not self._has_room(caller, count):
            self._metrics.refusals.labels(self._modality).inc()
            raise Overloaded(f"too many {self._modality} inputs are in flight; retry later", retry_delay=self.delay())
        self._take(caller, count)
        began = time.perf_counter()
        try:
            yield
        finally:
            self._take(caller, -count)
            self._seconds += _RECENT * (time.perf_counter() - began - self._seconds)

    def _has_room(self, caller: Caller, count: int) -> bool:
        free = self._most - self._taken
        if count > free:
            return False
        for depth, (held, times) in enumerate(zip(self._held, _TIMES_FREE, strict=True), 1):
            callers = len(held) + (caller[:depth] not in held)
            if held[caller[:depth]] + count > max(self._in_flight // callers, times * free):
                return False
        return True

    def _take(self, caller: Caller, count: int) -> None:
        self._taken += count
        for depth, held in enumerate(self._held, 1):
            held[caller[:depth]] += count
            if not held[caller[:depth]]:
                del held[caller[:depth]]
