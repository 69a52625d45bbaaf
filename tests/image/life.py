"""Start, health, drain and stop."""

import asyncio
import signal
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tests.image.container import Container
from tests.image.stage import Stage, check
from tests.support.messages import request, url_input
from tests.system.answers import segments
from tests.system.callers import Callers, names
from tests.system.server import MIB
from tests.system.upstream import Answer, Upstream
from tests.system.verdict import Verdict

STARTS = 5
STREAMS, SEGMENTS, STREAM_SECONDS = 20, 12, 6.0
_REST_SECONDS = 1.0


@check("start")
async def its_start(stage: Stage) -> Verdict:
    """It starts fast, and uses little memory without calls."""
    taken, resident, grouped = [], [], []
    for _ in range(STARTS):
        async with stage.container(upstream="http://127.0.0.1:9") as container:
            taken.append(time.monotonic() - container.began)
            await asyncio.sleep(_REST_SECONDS)
            resident.append(container.mib("VmRSS"))
            grouped.append(int(container.cgroup("memory.current")) / MIB)
    verdict = Verdict()
    verdict.at_most("s from `podman run` to SERVING, the engine included", statistics.median(taken), 10, "{:.2f}")
    verdict.at_most("MiB resident at rest", statistics.median(resident), 90, "{:.0f}")
    verdict.at_most("MiB of the container at rest", statistics.median(grouped), 120, "{:.0f}")
    return verdict


@check("health")
async def its_health(stage: Stage) -> Verdict:
    """The image's own health check exits with 0 while it serves, and 1 while it drains or no server listens."""
    question = stage.facts["Healthcheck"]["Test"][1:]
    async with stage.container(upstream="http://127.0.0.1:9", shutdown_delay=30) as container:

        async def asked(**environment: str) -> str:
            code, printed = await container.execute(*question, **environment)
            return f"{printed} {code}"

        verdict = Verdict()
        verdict.exactly("from outside", await container.health(), "SERVING")
        verdict.exactly("inside", await asked(), "SERVING 0")
        verdict.exactly("without a server", await asked(EMBEDWIRE_HEALTH_LISTEN="0.0.0.0:9"), "UNAVAILABLE 1")
        verdict.exactly("if the upstream is a flag", await asked(EMBEDWIRE_UPSTREAM=""), "SERVING 0")
        await _terminate(container)
        verdict.exactly("inside, while it drains", await asked(), "NOT_SERVING 1")
    return verdict


@check("drain")
async def its_drain(stage: Stage) -> Verdict:
    """After SIGTERM to process 1 running calls finish, health is NOT_SERVING, and the exit code is 0."""
    return await _drained(stage, _terminate)


@check("stop")
async def its_stop(stage: Stage) -> Verdict:
    """`podman stop` has the same effect."""
    return await _drained(stage, _stop)


@check("second-signal")
async def its_second_signal(stage: Stage) -> Verdict:
    """A second SIGTERM ends process 1 immediately during the drain."""
    async with stage.container(upstream="http://127.0.0.1:9", shutdown_delay=60) as container:
        await _terminate(container)
        await _changed_health(container)
        began = time.monotonic()
        await _terminate(container)
        code = await container.ended()
        took = time.monotonic() - began
    verdict = Verdict()
    verdict.exactly("exit code", code, 128 + signal.SIGTERM)
    verdict.at_most("s to the exit", took, 5, "{:.1f}")
    return verdict


async def _terminate(container: Container) -> None:
    await asyncio.to_thread(container.engine.podman, "kill", "--signal", "TERM", container.name)


async def _stop(container: Container) -> None:
    await asyncio.to_thread(container.engine.podman, "stop", "--time", "60", container.name, seconds=90)


async def _drained(stage: Stage, end: Callable[[Container], Coroutine[Any, Any, None]]) -> Verdict:
    answer = Answer("200", segments(SEGMENTS, STREAM_SECONDS))
    async with (
        Upstream(lambda _: answer).running() as upstream,
        stage.container(upstream=upstream.base_url, shutdown_delay=STREAM_SECONDS) as container,
        Callers.connected(container.target) as callers,
        asyncio.TaskGroup() as group,
    ):
        urls = [f"http://media.test/{name}" for name in names(STREAMS)]
        for url in urls:
            group.create_task(callers.embed(request(url_input("audio", url)), name=url))
        for url in urls:
            await upstream.journal.arrival(url)
        began = time.monotonic()
        ending = group.create_task(end(container))
        health = await _changed_health(container)
        code = await container.ended()
        took = time.monotonic() - began
        await ending
    complete = [
        one for one in callers.outcomes if one.code == "OK" and one.segments == SEGMENTS and one.is_answered_once
    ]
    verdict = Verdict()
    verdict.exactly(f"of {STREAMS} streams complete", len(complete), STREAMS)
    verdict.exactly("meanwhile", health, "NOT_SERVING")
    verdict.exactly("exit code", code, 0)
    verdict.at_most("s to the exit", took, STREAM_SECONDS + 5, "{:.1f}")
    return verdict


async def _changed_health(container: Container) -> str:
    """Wait for a change of the health status; return the new one."""
    async with asyncio.timeout(STREAM_SECONDS):
        while (health := await container.health()) == "SERVING":
            await asyncio.sleep(0.05)
    return health
