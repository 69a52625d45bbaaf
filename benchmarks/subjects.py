"""Subjects of measurements: servers under the load of h2load, whose replies are all checked."""

import asyncio
import dataclasses
import urllib.request
from pathlib import Path

from benchmarks.gateway import Gateway
from benchmarks.h2load import Burst, Load, fire, fire_for
from benchmarks.rounds import Sample
from benchmarks.upstream import Upstream

_SLACK_BYTES = 32  # the size of the timings in a result varies


@dataclasses.dataclass
class Served:
    """A server whose replies must have this size.

    Args:
        load: the requests and their concurrency.
        reply_bytes: size of one complete reply with its frames.
        slack: allowed difference of the size in bytes.
    """

    load: Load
    reply_bytes: int
    slack: int = 0
    _rate: float = 0.0

    async def __call__(self, seconds: float) -> Sample:
        """Apply the load for about this many seconds."""
        if not self._rate:
            self._rate = (await self.burst(self.load.in_flight * 4))[0].rate
        calls = round(max(2 * self.load.in_flight, self._rate * seconds))
        burst, sample = await self.burst(calls)
        self._rate = burst.rate
        return sample

    async def burst(self, calls: int) -> tuple[Burst, Sample]:
        """Make this many calls."""
        burst = await self.answered(calls)
        return burst, Sample(burst.rate, load_cpu=burst.cpu * burst.rate / calls)

    async def answered(self, calls: int) -> Burst:
        """Make this many calls; raise unless all replies have the right size."""
        burst = await fire(self.load, calls)
        if burst.answers != calls or abs(burst.data - calls * self.reply_bytes) > calls * self.slack:
            raise AssertionError(f"{calls} calls, {burst.answers} answers, {burst.data / calls} bytes each")
        return burst


@dataclasses.dataclass
class Asking(Served):
    """A server that sends one upstream request for each call."""

    upstream: Upstream | None = None
    way: str = ""

    async def burst(self, calls: int) -> tuple[Burst, Sample]:
        """Make this many calls, and count the upstream requests."""
        assert self.upstream is not None
        before, cpu = await self.upstream.counts(self.way), self.upstream.program.cpu()
        burst, sample = await super().burst(calls)
        after, used = await self.upstream.counts(self.way), self.upstream.program.cpu() - cpu
        asked = (after.requests - before.requests) / calls
        return burst, dataclasses.replace(sample, asked=asked, upstream_cpu=used * burst.rate / calls)


@dataclasses.dataclass
class Embedding(Asking):
    """A gateway, whose metrics must also count all calls as OK."""

    gateway: Gateway | None = None

    async def burst(self, calls: int) -> tuple[Burst, Sample]:
        """Make this many calls, and read its metrics."""
        assert self.gateway is not None
        before, cpu = await self.gateway.good_calls(), self.gateway.program.cpu()
        burst, sample = await super().burst(calls)
        used = self.gateway.program.cpu() - cpu
        async with asyncio.timeout(5):
            while (good := await self.gateway.good_calls() - before) < calls:
                await asyncio.sleep(0.02)
        if good != calls:
            raise AssertionError(f"{good} good calls of {calls}")
        return burst, dataclasses.replace(sample, cpu=used / calls)


@dataclasses.dataclass
class Lasting(Embedding):
    """A gateway under a load of fixed duration, so that faster connections make more calls.

    A fixed number of calls is divided evenly among connections, which would measure the slowest one.
    """

    async def __call__(self, seconds: float) -> Sample:
        """Apply the load for this many seconds."""
        assert self.gateway is not None
        assert self.upstream is not None
        before, cpu = await self.upstream.counts(self.way), self.upstream.program.cpu()
        good, ended = await self.gateway.good_calls(), await self.gateway.ended_calls()
        burst = await fire_for(self.load, seconds)
        used = self.upstream.program.cpu() - cpu
        await asyncio.sleep(0.5)  # for cancelled calls
        good, ended = await self.gateway.good_calls() - good, await self.gateway.ended_calls() - ended
        asked = (await self.upstream.counts(self.way)).requests - before.requests
        if good < burst.answers or burst.data < burst.answers * (self.reply_bytes - self.slack):
            raise AssertionError(f"{burst.answers} answers, {good} good calls, {burst.data} bytes")
        calls = min(max(asked, good), ended)  # a cancelled call may have sent its upstream request or not
        return Sample(burst.rate, asked / calls, used / seconds, burst.cpu / seconds)


def embedding(gateway: Gateway, load: Load, reply_bytes: int) -> Embedding:
    """Return a gateway under this load."""
    return Embedding(load, reply_bytes, _SLACK_BYTES, upstream=gateway.upstream, way=gateway.way, gateway=gateway)


def lasting(subject: Embedding) -> Lasting:
    """Return a gateway under this load of fixed duration."""
    return Lasting(**{field.name: getattr(subject, field.name) for field in dataclasses.fields(subject)})


async def reading(url: str, body: Path, headers: dict[str, str]) -> bytes:
    """Return the reply to one POST."""
    request = urllib.request.Request(url, body.read_bytes(), headers)

    def read() -> bytes:
        with urllib.request.urlopen(request, timeout=60) as page:
            answer: bytes = page.read()
            return answer

    return await asyncio.to_thread(read)
