"""Servers that share a quota store, with a fake upstream for each."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Readiness
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.rate_limit.quota_mode import QuotaMode
from embedwire_server.policies.rate_limit.shared_quota import SharedQuota
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import QuotaStoreUnavailable
from embedwire_server.testing import Attempt, Script, ScriptedUpstream
from tests.support.embed_calls import sample, times
from tests.support.quota_store import MemoryQuota, MemoryQuotaStore


class Server:
    """A rate-limited upstream of one server, and its store."""

    def __init__(
        self,
        *limits: RateLimit,
        quota: MemoryQuota | None = None,
        shares: int = 2,
        modality: Modality = Modality.TEXT,
        script: Script = Attempt.succeed,
    ) -> None:
        self.metrics, self.readiness = Metrics("fake"), Readiness()
        self.store = MemoryQuotaStore(quota)
        self.shared = SharedQuota(self.store, shares, QuotaMode(shares, self.metrics, self.readiness))
        self.limiters = RateLimiters({modality: limits}, self.metrics, self.shared)
        self.upstream = ScriptedUpstream(script)
        self.limited_upstream = RateLimitPolicy(self.upstream, self.limiters)

    @property
    def times(self) -> list[float]:
        return times(self.upstream)

    def cut_off(self) -> None:
        """Let the store fail."""
        self.store.failure = lambda: QuotaStoreUnavailable("the test has cut it off")

    def reconnect(self) -> None:
        """Let the store work."""
        self.store.failure = None

    def sample(self, name: str, modality: str = "text", **labels: str) -> float:
        return sample(self.metrics, name, modality=modality, **labels)

    @property
    def is_shared(self) -> bool:
        return sample(self.metrics, "embedwire_quota_shared") == 1


def servers(count: int, *limits: RateLimit, quota: MemoryQuota | None = None) -> list[Server]:
    """Return servers that share these limits."""
    quota = quota or MemoryQuota()
    return [Server(*limits, quota=quota, shares=count) for _ in range(count)]


@contextlib.asynccontextmanager
async def running(several: Sequence[Server]) -> AsyncGenerator[None]:
    """Run the background tasks of these servers."""
    async with contextlib.AsyncExitStack() as stack:
        for server in several:
            await stack.enter_async_context(server.shared.running())
            await asyncio.sleep(0.1)  # they do not watch the store at the same moments
        yield
