"""What the supervisor and a worker say to each other. Beside these, settings, or None for those that are not usable."""

from collections.abc import Mapping
from typing import NamedTuple

from embedwire_server.config.settings import Settings


class Heartbeat(NamedTuple):
    """The event loop of the worker runs; bytes of its resident memory."""

    memory: int


class Report(NamedTuple):
    """The result of the start: where the metrics are, or why it failed. Sent once."""

    metrics_url: str = ""
    fault: str = ""


class Start(NamedTuple):
    """The first message to a worker. It goes through the channel because the settings contain secrets."""

    settings: Settings
    sandbox_url: str | None
    heartbeat: float
    replacements: Mapping[str, int]
    has_metrics: bool


class Retire(NamedTuple):
    """Its successor serves: it is to give its ports back, say `Retired`, and drain."""


class Retired(NamedTuple):
    """The ports of metrics and health are free."""


class ServeMetrics(NamedTuple):
    """The port of the metrics is free."""
