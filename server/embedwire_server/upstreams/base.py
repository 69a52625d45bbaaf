"""The interface `Upstream`, which upstreams and policies implement, and the object of one input, `EmbedCall`."""

import dataclasses
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from embedwire_server.core.causes import Cause
from embedwire_server.core.inputs import Caller, Input
from embedwire_server.core.models import Modality, Model
from embedwire_server.core.results import ReplySummary, Segment

Phase = Literal["queue", "upload", "waiting", "decode", "parked"]

_arrivals = itertools.count()


@dataclasses.dataclass(slots=True, eq=False)
class EmbedCall:
    """One input on its way to the upstream, and what it has cost so far. Each layer that it passes adds to it.

    Attributes:
        input: what to embed. It is neither copied nor changed, so that it can be sent again.
        model: what embeds it.
        deadline: a time of the running event loop's clock; nothing may be waited for beyond it.
        index: of the input in its request.
        max_retries: None leaves the number of attempts to the server's policy.
        key: the caller's own credential for the upstream; None is the server's.
        caller: shares capacity fairly with others.
        arrival: among the inputs of one caller the lowest comes first, also when it has to wait again.
        needs_fresh_connection: keeps it off idle connections.
        attempts: upstream requests that were made.
        upstream: which upstream answered.
        stuck: what an attempt waited for when it was given up.
        hold: seconds for which the last response asks the next request to wait.
        segments: how many were decoded.
        is_abandoned: whether `emit` raised: what was found cannot be passed on.
        queue: seconds in queues. Those that follow are seconds as well.
        upload: waiting for the rest of the file.
        waiting: for the upstream.
        decode: decoding responses.
        parked: waiting for the caller to take what is decoded.
    """

    input: Input
    model: Model
    deadline: float
    index: int = 0
    max_retries: int | None = None
    key: str | None = dataclasses.field(default=None, repr=False)
    caller: Caller = ("", "")
    arrival: int = dataclasses.field(default_factory=_arrivals.__next__)
    needs_fresh_connection: bool = False
    attempts: int = 0
    upstream: str = ""
    stuck: Cause | None = None
    hold: float = 0.0
    segments: int = 0
    is_abandoned: bool = False
    queue: float = 0.0
    upload: float = 0.0
    waiting: float = 0.0
    decode: float = 0.0
    parked: float = 0.0

    @property
    def modality(self) -> Modality:
        """Of the input."""
        return self.input.modality

    def time(self, phase: Phase) -> "_Timed":
        """Add the time that the block takes, however it ends, to one phase."""
        return _Timed(self, phase)


class _Timed:
    """A block that is timed. A class, since a generator costs three times as much."""

    __slots__ = ("_call", "_phase", "_started")

    def __init__(self, call: EmbedCall, phase: Phase) -> None:
        self._call = call
        self._phase = phase
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        call, phase = self._call, self._phase
        setattr(call, phase, getattr(call, phase) + time.perf_counter() - self._started)


# Takes the segments that were decoded together, one or more; returns when the caller has taken them: the backpressure.
Emit = Callable[[list[Segment]], Awaitable[None]]


class Upstream(Protocol):
    """Whatever turns one input into segments. A policy is one too: a coroutine around that of the next `Upstream`."""

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input.

        Awaits `emit` for every batch of segments, in the upstream's order, as soon as it is decoded; at least one
        segment in all. Returns after the last one. Concurrent calls are independent.

        Whatever happens, all that was acquired is released before it returns or raises. It is stopped by cancelling its
        task, and by nothing else.

        Raises:
            GatewayError: the input failed; segments that were emitted are void. Whether an `UpstreamFailure` may be
                repeated is decided before the first byte of the body of a successful response, never after.
            Exception: what `emit` raises, unchanged; it is never a failure of the input (`EmbedCall.is_abandoned`).
        """
        ...
