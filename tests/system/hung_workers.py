"""Workers that hang: stopped by a debugger, by the operator or by a fault in a library."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from typing import Any

from tests.system.answers import slow
from tests.system.callers import Callers, Outcome, closed_loop, names
from tests.system.experiment import Experiment, guarantee
from tests.system.server import Server
from tests.system.verdict import Verdict

WORKERS, CONNECTIONS = 3, 30
GRACE, STOP_SECONDS = 1.0, 6.0  # the second is the allowance that docs/operations.md documents
SLACK = 10.0  # for a machine that does other things as well


@guarantee("hung-worker")
async def a_hung_worker_is_replaced(experiment: Experiment) -> Verdict:
    """A stopped worker is killed and replaced, other connections are unaffected, and SIGTERM still ends the server."""
    timeout = experiment.scaled(10.0, 3.0)
    flags: dict[str, Any] = {"workers": WORKERS, "workers_timeout": timeout, "shutdown_grace_period": GRACE}
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(experiment.upstream(slow(0.02)))
        server = await stack.enter_async_context(experiment.server(upstream.base_url, **flags))
        await _events(server, "serving", WORKERS + 1)
        connections = [await stack.enter_async_context(Callers.connected(server.target, 1)) for _ in range(CONNECTIONS)]
        before = _pids(server)
        replaced = asyncio.Event()
        load = [asyncio.create_task(_load(one, replaced)) for one in connections]
        await asyncio.sleep(0.5)  # so that every connection has its worker
        stopped = time.monotonic()
        os.kill(before[0], signal.SIGSTOP)
        await _events(server, "a hung worker is killed", 1)
        killed = time.monotonic()
        await _events(server, "serving", WORKERS + 2)
        replaced.set()
        await asyncio.gather(*load)
        afterwards = [await one.embed("afterwards", 30, wait_for_ready=True) for one in connections]
        after = _pids(server)
        os.kill(after[1], signal.SIGSTOP)
        began = time.monotonic()
        code = await server.terminate(60)
        took = time.monotonic() - began

    hit = [one for one in connections if any(outcome.code != "OK" for outcome in one.outcomes)]
    others = [outcome for one in connections if one not in hit for outcome in one.outcomes]
    meanwhile = [one for one in others if stopped < one.began and one.ended < killed]
    verdict = Verdict()
    verdict.at_most("s to the kill", killed - stopped, timeout + SLACK, "{:.1f}")
    verdict.at_least(f"of {CONNECTIONS} connections not touched", CONNECTIONS - len(hit), 1)
    verdict.at_least("calls of theirs meanwhile", len(meanwhile), 1)
    verdict.exactly("codes of the touched", {code for one in hit for code in one.codes} - {"OK"}, {"UNAVAILABLE"})
    verdict.exactly("connections answered afterwards", sum(one.code == "OK" for one in afterwards), CONNECTIONS)
    verdict.exactly("workers replaced", [index for index in before if before[index] != after[index]], [0])
    verdict.at_most("s to the exit with a stopped worker", took, GRACE + STOP_SECONDS + SLACK, "{:.1f}")
    verdict.exactly("exit code", code, 0)
    return verdict


async def _load(callers: Callers, is_over: asyncio.Event) -> None:
    async def call(name: str) -> Outcome:
        return await callers.embed(name, 60, wait_for_ready=True)

    await closed_loop(itertools.takewhile(lambda _: not is_over.is_set(), names(sys.maxsize)), 1, call)


def _log(server: Server, event: str) -> list[dict[str, Any]]:
    lines = (line for line in server.log.read_text().splitlines() if line.startswith("{") and line.endswith("}"))
    return [entry for entry in map(json.loads, lines) if entry["body"] == event]


def _pids(server: Server) -> dict[int, int]:
    return {entry["embedwire.worker"]: entry["process.pid"] for entry in _log(server, "a worker starts")}


async def _events(server: Server, event: str, count: int) -> None:
    async with asyncio.timeout(120):
        while len(_log(server, event)) < count:
            await asyncio.sleep(0.05)
