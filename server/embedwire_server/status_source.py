"""Collects the state of the server for the status page. It runs in the event loop, and only when the page is read."""

import os
import time
import urllib.parse
from collections.abc import Callable

from prometheus_client import Gauge

from embedwire_server import __version__
from embedwire_server.config.settings import Settings
from embedwire_server.core.models import Modality, Model
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.status import LimitStatus, ModelStatus, QueueStatus, Status
from embedwire_server.policies.rate_limit.policy import RateLimiters
from embedwire_server.policies.rate_limit.usage import ModalityUsage


class StatusSource:
    """Makes the status of a server.

    Args:
        settings: returns the settings that are in force.
        metrics: its metrics, with the recent calls.
        rate_limiters: its rate limiters.
    """

    def __init__(self, settings: Callable[[], Settings], metrics: Metrics, rate_limiters: RateLimiters) -> None:
        self._settings = settings
        self._metrics = metrics
        self._rate_limiters = rate_limiters
        self._began = time.monotonic()

    def status(self) -> Status:
        """Return the present status."""
        settings, usages = self._settings(), self._rate_limiters.usage()
        recent, name = self._metrics.recent_calls, settings.upstream.name
        return Status(
            time=time.time(),
            version=__version__,
            process_id=os.getpid(),
            uptime=time.monotonic() - self._began,
            upstream=name,
            upstream_host=urllib.parse.urlsplit(settings.upstream.base_url or "").hostname or "",
            models=[_model(model, name) for model in settings.model_table],
            calls=recent.by_reason(),
            failures=recent.failures,
            queues=self._queues(settings),
            limits=[limit for usage in usages for limit in _limits(usage)],
            back_offs={usage.modality: usage.back_off for usage in usages if usage.back_off > 0},
        )

    def _queues(self, settings: Settings) -> list[QueueStatus]:
        metrics, concurrency = self._metrics, settings.concurrency
        in_flight, slots = _by_modality(metrics.inputs_in_flight), _by_modality(metrics.inputs_queued)
        rate_limits = _by_modality(metrics.rate_limit_queue_length)
        return [
            QueueStatus(
                modality,
                in_flight.get(modality, 0),
                slots.get(modality, 0),
                rate_limits.get(modality, 0),
                concurrency.inputs_per_modality,
                concurrency.inputs_per_modality + concurrency.queue_per_modality,
            )
            for modality in Modality
        ]


def _by_modality(gauge: Gauge) -> dict[str, int]:
    return {sample.labels["modality"]: round(sample.value) for family in gauge.collect() for sample in family.samples}


def _model(model: Model, upstream: str) -> ModelStatus:
    if model.upstreams and upstream != "custom":
        availability = "available" if upstream in model.upstreams else f"not offered by {upstream}"
    else:
        availability = "not known"
    modalities = [modality for modality in Modality if model.takes(modality)]
    return ModelStatus(model.name, model.aliases, modalities, model.dimensions, [*model.api_versions], availability)


def _limits(usage: ModalityUsage) -> list[LimitStatus]:
    configured = [
        LimitStatus(usage.modality, one.name, "configured", one.amount, max(0.0, one.amount - one.used), one.free_in)
        for one in usage.configured
    ]
    reported = [
        LimitStatus(usage.modality, one.name, "upstream", one.limit, one.remaining, one.resets_in, usage.reported_ago)
        for one in usage.reported
    ]
    return configured + reported
