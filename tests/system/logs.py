"""Logs that cannot be written."""

import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.unlogged import Unlogged, output
from tests.system.answers import good
from tests.system.callers import Callers, closed_loop, names, percentile
from tests.system.experiment import Experiment, guarantee
from tests.system.server import MIB, Server
from tests.system.verdict import Verdict

KINDS = ("reader-gone", "full-disk", "blocked-reader")


@guarantee("unwritable-log")
async def nothing_waits_for_the_log(experiment: Experiment) -> Verdict:
    """With no log reader, a full disk or a blocked reader, every call is OK, and lost lines are counted."""
    calls = experiment.scaled(20_000, 500)
    verdict = Verdict()
    for kind in KINDS:
        async with _run_with(experiment, kind) as (server, callers, lost):
            await closed_loop(names(calls // 10, "warm"), 16, callers.embed)
            memory = server.memory()
            await closed_loop(names(calls), 16, callers.embed)
            probes = experiment.scaled(
                20_000, 11_000 if kind == "blocked-reader" else 500
            )  # more than its buffer holds
            await closed_loop(names(probes), 16, _prober(callers))  # each is a line as well, at level debug
            answered = len(callers.outcomes)
            slowest = percentile([one.seconds for one in callers.outcomes], 0.99)
            verdict.exactly(f"of {answered} calls OK, {kind}", callers.codes["OK"], answered)
            verdict.at_most("s p99 of a call", slowest, 2, "{:.2f}")
            verdict.at_least("lines lost and counted", await lost(), 100 if "blocked" in kind else answered)
            verdict.at_most("MiB more memory", (server.memory() - memory) / MIB, 32, "{:.1f}")
            await experiment.audit(server, callers, experiment.upstreams[-1])
            began = time.monotonic()
            code = await server.terminate(20)
            verdict.exactly("exit code", code, 0)
            verdict.at_most("s to the exit", time.monotonic() - began, 10, "{:.1f}")
    return verdict


@contextlib.asynccontextmanager
async def _run_with(
    experiment: Experiment, kind: str
) -> AsyncGenerator[tuple[Server, Callers, Callable[[], Awaitable[int]]]]:
    """Run a server with such a log, and callers; audit the metrics at the end."""
    with output(kind) as stderr:
        async with (
            experiment.upstream(good) as upstream,
            Unlogged.running(stderr, upstream=upstream.base_url, log_level="debug", log_format="json") as unlogged,
            Callers.connected(unlogged.target) as callers,
        ):
            server = Server(unlogged.process, unlogged.target, unlogged.metrics_url, Path("/dev/null"))
            yield server, callers, unlogged.dropped


def _prober(callers: Callers) -> Callable[[str], Awaitable[object]]:
    check = health_pb2_grpc.HealthStub(callers.channels[0]).Check

    async def probe(_: str) -> object:
        return await check(health_pb2.HealthCheckRequest(), timeout=20)

    return probe
