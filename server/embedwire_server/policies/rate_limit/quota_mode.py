"""Reports whether servers share the quota: in a gauge, in the text of `/readyz`, on the status page and in the log."""

import asyncio
import math
import time

import structlog

from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Readiness

LOG_SECONDS = 10.0  # the shortest time between two lines
NOTE = "quota"

log = structlog.get_logger(__name__)


class QuotaMode:
    """The mode of a server with a quota store.

    Args:
        shares: number of servers among which the limits are divided while the store is unavailable.
        metrics: have the gauge.
        readiness: shows the mode as a note; the server stays ready.
    """

    def __init__(self, shares: int, metrics: Metrics, readiness: Readiness) -> None:
        self._shares = shares
        self._readiness = readiness
        self._gauge = metrics.quota_shared()
        self._is_shared = self._is_logged_shared = True
        self._logged = -math.inf
        self._gauge.set(1)
        self._note()

    def set(self, *, is_shared: bool) -> None:
        """Note the mode that is in force from now on."""
        self._is_shared = is_shared
        self._gauge.set(is_shared)
        self._note()
        self.log()

    def log(self) -> None:
        """Log a change of the mode, unless another one was logged a moment ago; then a later call does."""
        if self._is_shared == self._is_logged_shared or asyncio.get_running_loop().time() - self._logged < LOG_SECONDS:
            return
        self._is_logged_shared, self._logged = self._is_shared, asyncio.get_running_loop().time()
        if self._is_shared:
            log.info("the quota store is available: the servers share the rate limits")
        else:
            log.warning(
                "the quota store is unavailable: this server uses its part of the rate limits", servers=self._shares
            )

    def _note(self) -> None:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        divided = f"divided among {self._shares} servers since {since}: the store is unavailable"
        self._readiness.note(NOTE, f"shared since {since}" if self._is_shared else divided)
