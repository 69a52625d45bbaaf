"""Helpers of the tests of the rate limit policy: a limited upstream, and calls with media."""

import asyncio
import gc
import weakref
from collections.abc import Mapping, Sequence

import pytest

from embedwire_server.core.inputs import AudioInput, FileSource, UrlSource
from embedwire_server.core.models import Modality
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.limiter import RateLimiter
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.testing import Attempt, Script, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import call, sample, start, times, undecided
from tests.support.media import wav
from tests.support.virtual_time import settled

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MARGIN = 1.0
OK = Attempt.succeed


class TrackedLimiters(RateLimiters):
    """Rate limiters that count those which are still referenced."""

    def __init__(self, limits: Mapping[Modality, Sequence[RateLimit]], metrics: Metrics) -> None:
        super().__init__(limits, metrics)
        self._seen = weakref.WeakSet[RateLimiter]()

    def of(self, call: EmbedCall) -> RateLimiter:
        limiter = super().of(call)
        self._seen.add(limiter)
        return limiter

    def count(self) -> int:
        """Return their number after a garbage collection."""
        gc.collect()
        return len(self._seen)


class Bench:
    """A rate-limited upstream whose replies the test sets."""

    def __init__(self, *limits: RateLimit, modality: Modality = Modality.TEXT, script: Script = undecided) -> None:
        self.metrics = Metrics("fake")
        self.upstream = ScriptedUpstream(script)
        self.limiters = TrackedLimiters({modality: limits}, self.metrics)
        self.limited_upstream = RateLimitPolicy(self.upstream, self.limiters)

    @property
    def attempts(self) -> list[Attempt]:
        return self.upstream.attempts

    @property
    def times(self) -> list[float]:
        return times(self.upstream)

    def remembered(self) -> int:
        """Return the number of credentials and modalities whose limiter is kept."""
        self.attempts.clear()  # they refer to their limiter
        return self.limiters.count()

    async def answered(self, wanted: EmbedCall, failure: Exception | None = None, exhausted_for: float = 0.0) -> None:
        """Make one call that the upstream answers with a success, or with `failure`."""
        before = len(self.attempts)
        [task] = start(self.limited_upstream, wanted)
        while len(self.attempts) == before and not task.done():  # a thread may read the duration of a file
            await settled()
        if failure is None:
            self.attempts[-1].succeed(exhausted_for=exhausted_for)
            await task
        else:
            self.attempts[-1].fail(failure, exhausted_for)
            with pytest.raises(type(failure)):
                await task

    def sample(self, name: str, modality: str = "text", **labels: str) -> float:
        return sample(self.metrics, name, modality=modality, **labels)


def per_day(amount: int) -> RateLimit:
    return RateLimit("text requests per day", amount, DAY)


def per_hour(amount: int) -> RateLimit:
    return RateLimit("audio minutes per hour", amount, HOUR, is_media=True)


def audio(
    minutes: float | None = None, *, offset: float | None = None, deadline: float = 1e9, caller: str = "1"
) -> EmbedCall:
    """A call with a WAV file of that length; with a URL if it is None."""
    source = UrlSource("http://media.test/a") if minutes is None else _file(minutes)
    return call(item=AudioInput("", source, offset), deadline=deadline, caller=("host", caller))


def _file(minutes: float) -> FileSource:
    return FileSource(InMemoryContent(wav(minutes * 60, rate=100)), "a.wav", "audio/wav")


async def bench_is_free(bench: Bench) -> None:
    """Check that no back-off and no probe is left: two calls are sent immediately."""
    before = len(bench.attempts)
    bench.upstream.script = undecided
    tasks = start(bench.limited_upstream, call(), call())
    await settled()
    assert len(bench.attempts) == before + 2
    for attempt in bench.attempts[before:]:
        attempt.succeed()
    await asyncio.gather(*tasks)
