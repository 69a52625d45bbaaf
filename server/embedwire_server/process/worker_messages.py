"""Messages between the supervisor and a worker. Settings, or None for invalid ones, are messages as well."""

from collections.abc import Mapping
from typing import NamedTuple

from embedwire_server.config.settings import Settings


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
