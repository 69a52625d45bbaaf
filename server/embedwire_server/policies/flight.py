"""A flight: one call of the upstream that several callers with identical inputs share."""

import asyncio
import copy
import dataclasses
import math
import time
from types import TracebackType

from embedwire_server.core.cancellation import cancellation_requested
from embedwire_server.core.errors import DeadlineExceeded, GatewayError, RateLimited, Reason, UpstreamFailure
from embedwire_server.core.inputs import FileSource, ImageInput, Input, content_of
from embedwire_server.core.results import CacheStatus, Segment
from embedwire_server.policies.cache.entry import CachedSegment, Entry
from embedwire_server.policies.shared_content import SharedContent
from embedwire_server.upstreams.base import EmbedCall, Upstream

# A text or an image has one segment. The flight keeps its segments until its end, so their number has to be limited.
MAX_SEGMENTS = 16

Outcome = Entry | BaseException


class Flight:
    """One call of the upstream for identical inputs.

    Args:
        starter: the first of them. The flight has its identity, so that fair queues count it as the starter's.

    Attributes:
        call: its state and statistics.
        task: runs it; set by its owner, before anything awaits.
    """

    task: asyncio.Task[Outcome]

    def __init__(self, starter: EmbedCall) -> None:
        self._first_deadline = starter.deadline
        self._waiting: dict[EmbedCall, None] = {}  # in the order in which they joined
        self._attributed = 0  # attempts that belong to a caller that has left
        self._segments: list[CachedSegment] = []
        self._traceback: TracebackType | None = None
        content = content_of(starter.input)
        self._content = None if content is None else SharedContent()
        self.call = EmbedCall(
            _with_content(starter.input, self._content),
            starter.model,
            starter.deadline,
            starter.index,
            starter.max_retries,
            starter.credential,
            starter.caller,
            starter.has_uncertainty,
            tenant=starter.tenant,
            sequence=starter.sequence,
            content_bytes=starter.content_bytes,
            began=starter.began,
        )

    def join(self, call: EmbedCall) -> "Seat":
        """Add a caller. The deadline becomes the latest of all callers."""
        call.cache_status = CacheStatus.COALESCED if self._waiting else CacheStatus.MISS
        self._waiting[call] = None
        self.call.deadline = max(self.call.deadline, call.deadline)
        content = content_of(call.input)
        if self._content is not None and content is not None:
            self._content.add(call, content)
        return Seat(self, call)

    def leave(self, call: EmbedCall) -> bool:
        """Remove a caller; return whether none is left. If it was the owner, the one that joined next becomes that."""
        del self._waiting[call]
        if self._content is not None:
            self._content.remove(call)
        if not self._waiting:
            return True
        if call.cache_status is CacheStatus.MISS and not self.task.done():
            next(iter(self._waiting)).cache_status = CacheStatus.MISS
        return False

    def take_attempts(self) -> int:
        """Return the attempts that belong to no caller yet."""
        attempts, self._attributed = self.call.attempts - self._attributed, self.call.attempts
        return attempts

    async def run(self, upstream: Upstream) -> Outcome:
        """Make the call. A failure is returned, not raised: it belongs to the callers."""
        try:
            summary = await upstream.embed(self.call, self._keep)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see above
            if isinstance(error, GatewayError) or cancellation_requested():
                error.__traceback__ = error.__cause__ = error.__context__ = None  # break reference cycles
            self._traceback = error.__traceback__
            return error
        return Entry.of(self._segments, self.call.upstream, summary)

    async def _keep(self, segments: list[Segment]) -> None:
        self._segments += map(CachedSegment.of, segments)
        if len(self._segments) > MAX_SEGMENTS:
            text = f"the upstream's response has more than {MAX_SEGMENTS} segments for one {self.call.modality}"
            raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, text)

    def failure(self, outcome: BaseException) -> BaseException:
        """Return the failure for one caller: a copy, since callers add to it; see `GatewayError.locate`.

        An unexpected exception is the same for all callers, each of which logs it.
        """
        return copy.copy(outcome) if isinstance(outcome, GatewayError) else outcome.with_traceback(self._traceback)

    def may_be_repeated(self, failure: BaseException, call: EmbedCall) -> bool:
        """Return whether it failed because of an earlier deadline than that of this caller, which joined too late.

        A caller whose deadline is not later than the first one would fail as well. So of several flights in sequence,
        each has a later first deadline than the one before.
        """
        if call.deadline <= self._first_deadline:
            return False
        now = asyncio.get_running_loop().time()
        if isinstance(failure, RateLimited):
            return now + (math.inf if failure.retry_delay is None else failure.retry_delay) < call.deadline
        return isinstance(failure, DeadlineExceeded) and now < call.deadline


class Seat:
    """A caller of a flight, for its statistics: the requests are the owner's, the others have only waited.

    The owner is the caller with the cache status `MISS`: the first that has not left.

    Args:
        flight: the flight.
        call: the caller's input.
    """

    __slots__ = ("_call", "_flight", "_is_starter", "_joined", "_queue")

    def __init__(self, flight: Flight, call: EmbedCall) -> None:
        self._flight = flight
        self._call = call
        self._is_starter = call.cache_status is CacheStatus.MISS
        self._joined = time.perf_counter()
        self._queue = flight.call.queue

    def add_statistics(self) -> None:
        """Add the attempts of the flight to its owner, and the times of the flight since the caller has joined.

        The times of the starter are those of the flight. That of another caller, and of a starter that leaves, is
        `queue` as far as the flight was in queues, else `waiting`.
        """
        of, call = self._flight.call, self._call
        call.upstream, call.endpoint, call.upstream_trace_id = of.upstream, of.endpoint, of.upstream_trace_id
        if call.cache_status is CacheStatus.MISS:
            call.attempts += self._flight.take_attempts()
        if self._is_starter and self._flight.task.done():
            call.queue += of.queue
            call.waiting += of.waiting
            call.decode += of.decode
        else:
            seconds = time.perf_counter() - self._joined
            queue = min(seconds, of.queue - self._queue)
            call.queue += queue
            call.waiting += seconds - queue


def _with_content(item: Input, content: SharedContent | None) -> Input:
    """Return an input that reads its file from `content`."""
    if content is None or not isinstance(item, ImageInput) or not isinstance(item.source, FileSource):
        return item
    return dataclasses.replace(item, source=dataclasses.replace(item.source, content=content))
