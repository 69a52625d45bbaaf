"""The error of a call that the rate limits allow only after its deadline, or never."""

import math

from embedwire_server.core.errors import QuotaViolation, RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.sliding_window import RateLimit

UPSTREAM_LIMIT = "upstream"
RETRY_SECONDS = 5.0  # of a call that needs more than this server's part of a limit


class Rejections:
    """Makes the errors of a modality, and counts them."""

    def __init__(self, modality: Modality, metrics: Metrics) -> None:
        self._modality = modality
        self._metrics = metrics

    def error(self, limit: RateLimit | None, available_in: float, time_left: float) -> RateLimited:
        """Return the error of a call; see `rejection`."""
        self._metrics.rate_limit_rejections.labels(self._modality, limit.name if limit else UPSTREAM_LIMIT).inc()
        return rejection(self._modality, limit, available_in, time_left)


def rejection(modality: Modality, limit: RateLimit | None, available_in: float, time_left: float) -> RateLimited:
    """Return the error.

    Args:
        modality: modality of the input.
        limit: the deciding limit; None is the upstream's.
        available_in: seconds until there is capacity; infinity if there never is.
        time_left: seconds until the deadline.
    """
    name = limit.name if limit else f"{modality} requests to the upstream"
    most = f" (at most {limit.amount})" if limit else ", which asked to wait"
    if math.isinf(available_in) and limit and limit.part_of is not None:
        text = f"{name}{most} while {limit.part_of} cannot be shared: the quota store is unavailable; try again later"
        return RateLimited(text, retry_delay=RETRY_SECONDS, quotas=(QuotaViolation(name, text),))
    if math.isinf(available_in):
        text = f"{name}{most}: this file alone exceeds it; split the file"
        return RateLimited(text, quotas=(QuotaViolation(name, text),))
    times = f"available in {available_in:.3g} s, the deadline is in {max(0.0, time_left):.3g} s"
    text = f"{name}{most}: capacity is {times}"
    return RateLimited(text, retry_delay=available_in, quotas=(QuotaViolation(name, text),))
