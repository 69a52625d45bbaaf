"""What the status page shows: plain values, which the event loop makes and the thread of the page reads."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from embedwire_server.observability.recent_calls import FailedCall


class ModelStatus(NamedTuple):
    """A model of the table.

    Attributes:
        name: its name.
        aliases: other names.
        modalities: the kinds of inputs that it takes.
        dimensions: number of values of a vector.
        api_versions: versions of the upstream's API that are used for it.
        availability: whether the configured upstream has it.
    """

    name: str
    aliases: Sequence[str]
    modalities: Sequence[str]
    dimensions: int
    api_versions: Sequence[str]
    availability: str


class QueueStatus(NamedTuple):
    """Inputs of a modality.

    Attributes:
        modality: the modality.
        in_flight: inputs in progress, those that wait included.
        wait_for_slot: inputs that wait for the concurrency limit.
        wait_for_rate_limit: inputs that wait for rate limits.
        slots: the concurrency limit.
        capacity: inputs that may be in progress or wait; calls above it are rejected.
    """

    modality: str
    in_flight: int
    wait_for_slot: int
    wait_for_rate_limit: int
    slots: int
    capacity: int


class LimitStatus(NamedTuple):
    """A rate limit of the server's own credential.

    Attributes:
        modality: the modality that it counts.
        name: its name.
        source: "configured", or "upstream" for one of the upstream's response headers.
        limit: the amount per period; None if unknown. The next one as well.
        remaining: the amount that is left.
        resets_in: seconds until all of it is available again.
        age: seconds since the upstream reported it; 0 for a configured limit.
    """

    modality: str
    name: str
    source: str
    limit: float | None
    remaining: float | None
    resets_in: float
    age: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """State of the server at one moment.

    Attributes:
        time: seconds since the epoch. All other times are seconds.
        version: of the server.
        process_id: of this process; each worker has its own page.
        uptime: since the start of this process.
        upstream: name of the configured upstream.
        upstream_host: its host; empty for the embedded sandbox.
        models: the models.
        calls: number of calls by reason, in the periods of `recent_calls.MINUTES`.
        failures: the latest failed calls, the newest first.
        queues: inputs by modality.
        limits: rate limits by modality.
        back_offs: seconds until the back-off of a modality ends, for those that are in back-off.
    """

    time: float
    version: str
    process_id: int
    uptime: float
    upstream: str
    upstream_host: str
    models: Sequence[ModelStatus]
    calls: Mapping[str, Sequence[int]]
    failures: Sequence[FailedCall]
    queues: Sequence[QueueStatus]
    limits: Sequence[LimitStatus]
    back_offs: Mapping[str, float]
