"""The `Upstream` interface, which upstreams and policies implement, and `EmbedCall`, the state of one input."""

import dataclasses
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, Protocol

from embedwire_server.core.cancellation import is_expired
from embedwire_server.core.errors import Reason
from embedwire_server.core.failure_causes import Cause
from embedwire_server.core.inputs import Caller, Input
from embedwire_server.core.models import Modality, Model
from embedwire_server.core.results import CacheStatus, ReplySummary, Segment, Stage
from embedwire_server.core.totals import Totals

Phase = Literal["queue", "upload", "waiting", "decode", "parked"]

_sequence = itertools.count()


@dataclasses.dataclass(slots=True, eq=False)
class Job:
    """What the upstream keeps for one input: an asset, a task, or both.

    Attributes:
        asset_id: identifier of the asset that this server created; empty without one.
        uses_task: whether a task processes the input.
        is_task_requested: whether a request for a task was sent, and the upstream has not rejected it.
        task_id: identifier of the task; empty until it is known.
        is_task_ended: whether the task is known to be ready or failed.
        asset_name: name of the file of the asset that this server has tried to create; empty without one.
    """

    asset_id: str = ""
    uses_task: bool = False
    is_task_requested: bool = False
    task_id: str = ""
    is_task_ended: bool = False
    asset_name: str = ""


class UpstreamLimit(NamedTuple):
    """A rate limit in the headers of a response.

    Attributes:
        name: the headers' common beginning, for instance "x-ratelimit-request".
        limit: the amount per period; None if unknown. The next one as well.
        remaining: the amount that is left.
        resets_in: seconds until it resets, counted from the arrival of the response.
    """

    name: str
    limit: float | None
    remaining: float | None
    resets_in: float


@dataclasses.dataclass(slots=True, eq=False)
class EmbedCall:
    """State and statistics of one input; each policy and the upstream add to it.

    Attributes:
        input: what to embed; neither copied nor changed, so that it can be sent again.
        model: the model to use.
        deadline: time of the running event loop's clock; nothing may wait beyond it.
        index: position of the input in its request.
        max_retries: limit of the caller; None leaves it to the server's policy.
        credential: the caller's own credential for the upstream; None uses the server's.
        has_uncertainty: whether the uncertainty of vectors is requested.
        report: takes a new stage of the input; None if stages are not reported.
        caller: the client, for fair queues.
        tenant: name of the caller's token; empty without one. Results are never shared between tenants.
        sequence: order among the inputs of one caller, lowest first, also when it has to wait again.
        needs_fresh_connection: whether idle connections must not be used.
        attempts: number of upstream requests made.
        retries: number of earlier attempts that failed.
        upstream: name of the upstream that responded.
        stuck: why an attempt had no connection when it was cancelled.
        exhausted_for: seconds for which the last response asks the next request to wait.
        limits: rate limits in the headers of the last response.
        segments: number of decoded segments.
        content_bytes: size of the text or file that was received; 0 before it is complete.
        is_abandoned: whether `emit` raised: segments can no longer be passed on.
        queue: seconds in queues. The fields that follow are seconds as well.
        upload: waiting for the rest of the uploaded file.
        waiting: waiting for the upstream.
        decode: decoding responses.
        parked: waiting for the caller to take decoded segments (backpressure).
        endpoint: path of the endpoint that the last request was sent to, for metrics.
        job: what the upstream keeps for the input; None for most inputs.
        upstream_trace_id: the upstream's identifier of the last request; empty if it sent none.
        cache_status: whether its result was reused; None if results of such inputs are not reused.
        result_key: key of its result, once it has been computed; None if it has none.
        began: when its call began, by the clock of the deadline; infinity if that is not known.
    """

    input: Input
    model: Model
    deadline: float
    index: int = 0
    max_retries: int | None = None
    credential: str | None = dataclasses.field(default=None, repr=False)
    caller: Caller = ("", "")
    has_uncertainty: bool = False
    report: "Report | None" = dataclasses.field(default=None, repr=False)
    tenant: str = ""
    sequence: int = dataclasses.field(default_factory=_sequence.__next__)
    needs_fresh_connection: bool = False
    attempts: int = 0
    retries: int = 0
    upstream: str = ""
    stuck: Cause | None = None
    exhausted_for: float = 0.0
    limits: tuple[UpstreamLimit, ...] = ()
    segments: int = 0
    content_bytes: int = 0
    is_abandoned: bool = False
    queue: float = 0.0
    upload: float = 0.0
    waiting: float = 0.0
    decode: float = 0.0
    parked: float = 0.0
    endpoint: str = ""
    job: "Job | None" = None
    upstream_trace_id: str = ""
    cache_status: CacheStatus | None = None
    result_key: bytes | None = dataclasses.field(default=None, repr=False)
    began: float = math.inf

    @property
    def is_expired(self) -> bool:
        """Whether it has reached its deadline, also if its caller's own timer has fired first."""
        return is_expired(self.began, self.deadline)

    @property
    def cancellation_reason(self) -> Reason:
        """Reason of an end by cancellation: its deadline has passed, or its caller has disconnected."""
        return Reason.DEADLINE_EXCEEDED if self.is_expired else Reason.CANCELLED

    @property
    def asset_id(self) -> str:
        """Identifier of the asset that this server created for the input; empty without one."""
        return self.job.asset_id if self.job is not None else ""

    @property
    def task_id(self) -> str:
        """Identifier of the upstream's task; empty without one."""
        return self.job.task_id if self.job is not None else ""

    @property
    def uses_task(self) -> bool:
        """Whether a task processes the input."""
        return self.job is not None and self.job.uses_task

    async def enter(self, stage: Stage) -> None:
        """Report a new stage."""
        if self.report is not None:
            await self.report(self, stage)

    def side_call(self) -> "EmbedCall":
        """Return a call for the same input with statistics of its own, for a request that is not an attempt."""
        return EmbedCall(
            self.input,
            self.model,
            self.deadline,
            self.index,
            credential=self.credential,
            caller=self.caller,
            has_uncertainty=self.has_uncertainty,
            tenant=self.tenant,
            needs_fresh_connection=self.needs_fresh_connection,
            retries=self.retries,
            job=self.job,
            began=self.began,
        )

    def add_times(self, side: "EmbedCall") -> None:
        """Add the times of a side call."""
        self.waiting += side.waiting
        self.decode += side.decode
        self.upstream = self.upstream or side.upstream
        self.upstream_trace_id = side.upstream_trace_id or self.upstream_trace_id

    def add_to(self, totals: Totals) -> None:
        """Add the statistics of this input to those of its request."""
        modalities = totals.modalities
        modalities[self.modality] = modalities.get(self.modality, 0) + 1
        totals.segments += self.segments
        totals.content_bytes += self.content_bytes
        totals.attempts += self.attempts
        totals.queue += self.queue
        totals.upload += self.upload
        totals.upstream += self.waiting
        totals.decode += self.decode
        totals.upstream_trace_id = self.upstream_trace_id or totals.upstream_trace_id
        if (status := self.cache_status) is not None:
            totals.cache[status] = totals.cache.get(status, 0) + 1

    @property
    def modality(self) -> Modality:
        """Modality of the input."""
        return self.input.modality

    def time(self, phase: Phase) -> "_Timed":
        """Measure a block and add its duration to one phase, also if it raises."""
        return _Timed(self, phase)


class _Timed:
    """Context manager of `EmbedCall.time`. A class, since a generator costs three times as much."""

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


# Takes segments that were decoded together, at least one; returns once the caller has taken them (backpressure).
Emit = Callable[[list[Segment]], Awaitable[None]]
# Takes a new stage of an input; returns once the caller has taken it.
Report = Callable[["EmbedCall", Stage], Awaitable[None]]


class Upstream(Protocol):
    """Interface that turns one input into segments. A policy implements it around the next `Upstream`."""

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input.

        Awaits `emit` for every batch of segments, in the upstream's order, as soon as it is decoded; at least one
        segment in all. Returns after the last one. Concurrent calls are independent.

        All resources are released before it returns or raises. The only way to stop it is to cancel its task.

        Raises:
            GatewayError: the input failed; segments that were emitted are invalid. Whether an `UpstreamFailure` may be
                repeated is decided before the first byte of the body of a successful response, never after.
            Exception: what `emit` raises, unchanged; it is never a failure of the input (`EmbedCall.is_abandoned`).
        """
        ...
