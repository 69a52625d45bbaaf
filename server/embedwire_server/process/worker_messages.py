"""Messages between the supervisor and a worker. Settings, or None for invalid ones, are messages as well."""

from collections.abc import Mapping
from typing import NamedTuple

from embedwire_server.config.settings import Settings
from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.store import Demand, Lease


class Heartbeat(NamedTuple):
    """The event loop of the worker runs; `memory` is its resident memory in bytes."""

    memory: int


class Report(NamedTuple):
    """The result of the start: the URL of the metrics, or the fault. Sent once."""

    metrics_url: str = ""
    fault: str = ""


class Start(NamedTuple):
    """The first message to a worker. The settings in it contain secrets, so they are sent through the channel."""

    settings: Settings
    sandbox_url: str | None
    heartbeat: float
    replacements: Mapping[str, int]
    has_metrics: bool


class Retire(NamedTuple):
    """The successor serves: close the ports of metrics and health, reply `Retired`, and drain."""


class Retired(NamedTuple):
    """The ports of metrics and health are free."""


class ServeMetrics(NamedTuple):
    """Serve the metrics: their port is free."""


class LeaseRequest(NamedTuple):
    """A worker asks for permits.

    Attributes:
        number: number of the request, for the reply.
        demand: what it asks for. Times are CLOCK_MONOTONIC, which is the same in all processes of a machine.
        expires: when it stops waiting for the reply.
    """

    number: int
    demand: Demand
    expires: float


class LeaseReply(NamedTuple):
    """The reply to the request of this number."""

    number: int
    lease: Lease


class Settlement(NamedTuple):
    """A worker returns permits of a lease, and corrects its minutes of media by a difference."""

    lease: Lease
    unused: int
    minutes: float


class UpstreamBackOff(NamedTuple):
    """The upstream has asked a worker to wait."""

    modality: Modality
    seconds: float
