"""The environment of an experiment: a seed, a scale, upstreams, servers and callers, and an audit of the metrics."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.system.callers import Callers
from tests.system.server import Server
from tests.system.upstream import Script, Upstream
from tests.system.verdict import Verdict

T = TypeVar("T")


@dataclasses.dataclass
class Experiment:
    """The experiment of one guarantee.

    Attributes:
        name: of the guarantee.
        seed: of random numbers.
        short: whether numbers are small.
        directory: for logs and journals.
        audits: of the metrics, after each part: empty, or how they differ from what callers and upstream saw.
    """

    name: str
    seed: int
    short: bool
    directory: Path
    audits: list[str] = dataclasses.field(default_factory=list)
    upstreams: list[Upstream] = dataclasses.field(default_factory=list)
    _number: "itertools.count[int]" = dataclasses.field(default_factory=itertools.count)

    def scaled(self, full: T, short: T) -> T:
        return short if self.short else full

    @contextlib.asynccontextmanager
    async def upstream(self, script: Script) -> AsyncGenerator[Upstream]:
        async with Upstream(script).running() as upstream:
            self.upstreams.append(upstream)
            yield upstream

    @contextlib.asynccontextmanager
    async def server(self, upstream: str, **settings: Any) -> AsyncGenerator[Server]:
        log = self.directory / f"{self.name}-{next(self._number)}.log"
        async with Server.running(log, upstream, **settings) as server:
            yield server

    @contextlib.asynccontextmanager
    async def environment(
        self, script: Script, callers: int = 4, **settings: Any
    ) -> AsyncGenerator[tuple[Upstream, Server, Callers]]:
        """Run an upstream, a server and callers; audit the metrics at the end."""
        async with (
            self.upstream(script) as upstream,
            self.server(upstream.base_url, **settings) as server,
            Callers.connected(server.target, callers) as connected,
        ):
            yield upstream, server, connected
            await self.audit(server, connected, upstream)

    async def audit(self, server: Server, callers: Callers, upstream: Upstream) -> None:
        """Compare the metrics with the outcomes of the callers and the journal of the upstream."""
        await settled(server)
        handled = await server.sums("grpc_server_handled_total", "grpc_code")
        started = (await server.sums("grpc_server_started_total")).total()
        sent = (await server.sums("embedwire_upstream_requests_total")).total()
        seen, left = callers.codes, callers.left
        beyond = handled - seen  # abandoned calls end with any code, or were never started
        if seen - handled or beyond.total() > left:
            self.audits.append(f"handled {dict(handled)}, seen {dict(seen)} and {left} left")
        elif started != handled.total():
            self.audits.append(f"started {started}, handled {handled.total()}")
        elif sent != len(upstream.journal):
            self.audits.append(f"{sent} upstream requests, {len(upstream.journal)} in the journal")
        elif in_flight := (await server.sums("embedwire_inputs_in_flight")).total():
            self.audits.append(f"{in_flight} inputs in flight")
        else:
            self.audits.append("")


async def settled(server: Server) -> None:
    """Wait until the server has ended all abandoned calls."""

    async def begun_and_not_ended() -> int:
        sums = [await server.sums(f"grpc_server_{what}_total") for what in ("started", "handled")]
        return sums[0].total() - sums[1].total() + (await server.sums("embedwire_inputs_in_flight")).total()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while await begun_and_not_ended():
                await asyncio.sleep(0.05)


Run = Callable[[Experiment], Awaitable[Verdict]]


@dataclasses.dataclass(frozen=True, slots=True)
class Guarantee:
    """A guarantee: its name and the experiment that checks it.

    Attributes:
        patient: whether it mostly waits, so that it can run concurrently with others.
        together: whether it waits between bursts of load, so that it can run concurrently with others of this kind.
        large: whether it has no short version.
    """

    name: str
    run: Run
    patient: bool = False
    together: bool = False
    large: bool = False

    @property
    def sentence(self) -> str:
        return (self.run.__doc__ or "").strip()


ALL: dict[str, Guarantee] = {}


def guarantee(name: str, *, patient: bool = False, together: bool = False, large: bool = False) -> Callable[[Run], Run]:
    """Register a function as the experiment of a guarantee."""

    def add(run: Run) -> Run:
        ALL[name] = Guarantee(name, run, patient, together, large)
        return run

    return add
