"""Workers over their age or memory limit are replaced by a new one, which serves before the old one drains."""

import asyncio
import collections
import contextlib
import os
import re
import resource
import shutil
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.config.fields import MIB
from embedwire_server.config.settings import Settings
from embedwire_server.core.address import Address
from embedwire_server.process.port_reservation import reserve_port
from embedwire_server.process.worker_lifespan import LIFESPAN_JITTER, Lifespan
from tests.support.messages import text_input
from tests.support.process import SERVER, ServerProcess
from tests.support.serving import settings_of, until
from tests.support.upstreams import Visit, reply

GROWING_SERVER = (str(Path(__file__).parents[1] / "programs/growing_server.py"),)
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
OK = grpc.StatusCode.OK
CONNECTIONS = 20  # with this many connections a worker of two gets none only once in a million runs
PROGRAMS = {"memory": GROWING_SERVER, "age": SERVER}


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def code(stub: Any, timeout: float = 30) -> grpc.StatusCode:  # noqa: ASYNC109 - of the call
    found: grpc.StatusCode = await stub.CreateEmbeddingUnary(TEXT, timeout=timeout).code()
    return found


async def own_code(target: str, timeout: float = 30) -> grpc.StatusCode:  # noqa: ASYNC109 - of the call
    """The status code of a call on its own connection."""
    async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return await code(embedding_pb2_grpc.EmbeddingServiceStub(channel), timeout)


def limits(reason: str) -> dict[str, Any]:
    return {"workers_max_memory": 250} if reason == "memory" else {"workers_max_age": 3}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def logged(server: ServerProcess, pattern: str, times: int = 1) -> re.Match[str]:
    """Wait until lines of the log match this many times; return the first match."""

    def matches() -> list[re.Match[str]]:
        return [found for line in server.log if (found := re.search(pattern, line))]

    await until(lambda: len(matches()) >= times, 60)
    return matches()[0]


async def metrics_of(server: ServerProcess, worker: int) -> str:
    """The metrics of the latest process of a worker."""
    urls = [
        found[1]
        for line in server.log
        if f"worker={worker}" in line and (found := re.search(r"metrics=(http://\S+/metrics)", line))
    ]
    server.metrics_urls.append(urls[-1])
    return await asyncio.to_thread(server.metrics, -1)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("reason", PROGRAMS)
async def test_a_worker_is_replaced(reason: str, workers: int) -> None:
    """Running calls complete, new calls are always accepted, and the log and a metric give the reason."""
    go_on, visits = asyncio.Event(), list[Visit]()

    async def first_waits(visit: Visit) -> None:
        visits.append(visit)
        if len(visits) == 1:
            await go_on.wait()
        await visit.answer(reply())

    async with ServerProcess.running(
        first_waits, program=PROGRAMS[reason], workers=workers, **limits(reason)
    ) as server:
        waiting = asyncio.ensure_future(code(server.stub))
        await until(lambda: bool(visits))
        if reason == "memory":
            os.kill(server.worker(0), signal.SIGUSR1)
        # Each worker has its own age limit, and the next one is replaced after the first one has drained.
        found = await logged(server, rf"a worker is replaced worker=(\d) pid=(\d+) reason={reason} ")
        index, pid = map(int, found.groups())
        await logged(server, rf"serving metrics .*worker={index}")
        assert server.worker(index) != pid
        assert await own_code(server.target) == OK
        assert f'embedwire_worker_replacements_total{{reason="{reason}"}} 1.0' in await metrics_of(server, index)
        go_on.set()
        assert await waiting == OK, "\n".join(server.log)
        await logged(server, rf"a replaced worker has exited worker={index} pid={pid} exit_status=0")
        assert await server.terminate() == 0

    assert not any("error" in line or "Traceback" in line for line in server.log)


async def test_callers_lose_no_call() -> None:
    """While workers are replaced one after the other, callers that wait for a connection lose no call.

    A connection that reaches a worker in the moment in which it closes its port is reset.
    """
    async with ServerProcess.running(answer, workers=2, workers_max_age=2) as server:
        found: collections.Counter[grpc.StatusCode] = collections.Counter()

        async def call_until_replaced() -> None:
            async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
                while sum("a replaced worker has exited" in line for line in server.log) < 3:
                    call: Any = stub.CreateEmbeddingUnary(TEXT, timeout=30, wait_for_ready=True)
                    found[await call.code()] += 1

        await asyncio.wait_for(asyncio.gather(*[call_until_replaced() for _ in range(8)]), 120)
        assert found.keys() == {OK}
        events = [
            line for line in server.log if "a worker is replaced" in line or "a replaced worker has exited" in line
        ]
        assert await server.terminate() == 0

    assert all("a worker is replaced" in line for line in events[::2])  # one at a time
    assert all("a replaced worker has exited" in line for line in events[1::2])


async def test_health_of_the_server_does_not_change() -> None:
    """Probes on the health port see SERVING while workers are replaced, in spite of a shutdown delay."""
    request = health_pb2.HealthCheckRequest(service="embedwire.v1.EmbeddingService")
    with reserve_port(Address("127.0.0.1:0")) as held:  # for servers that share it
        health = f"127.0.0.1:{held.getsockname()[1]}"
        settings: dict[str, Any] = {"workers_max_age": 2, "health_listen": health, "shutdown_delay": 60}
        async with ServerProcess.running(answer, **settings) as server:
            while sum("a replaced worker has exited" in line for line in server.log) < 2:
                async with grpc.aio.insecure_channel(health, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                    check = health_pb2_grpc.HealthStub(channel).Check
                    found = await check(request, timeout=20, wait_for_ready=True)
                    assert found.status == health_pb2.HealthCheckResponse.SERVING
            server.kill()


async def test_a_successor_that_does_not_start_replaces_nothing(tmp_path: Path) -> None:
    """The old worker continues, the fault is logged, and the next attempt succeeds once it is corrected."""
    spool = tmp_path / "spool"
    spool.mkdir()
    async with ServerProcess.running(answer, workers_max_age=2, uploads_spool_dir=spool) as server:
        pid = server.worker(0)
        shutil.rmtree(spool)
        await logged(server, r"a worker has failed to start worker=0 fault=.*spool", 2)
        assert is_running(pid)
        assert await code(server.stub) == OK
        spool.mkdir()
        await logged(server, rf"a replaced worker has exited worker=0 pid={pid} exit_status=0")
        assert await code(server.stub) == OK


async def test_a_limit_that_new_workers_exceed_is_a_warning() -> None:
    """A limit that new workers exceed causes replacements at growing intervals and a warning; all calls are OK."""
    limit, large = 250, {"LARGE": "1"}
    async with ServerProcess.running(
        answer, program=GROWING_SERVER, environment=large, workers_max_memory=limit
    ) as server:
        await logged(server, "a replaced worker has exited", 3)
        assert await own_code(server.target) == OK
        assert await server.terminate() == 0

    warned = [line for line in server.log if "[warning]" in line and "the limit may be too low" in line]
    assert len(warned) >= 3
    assert all(f"limit_mib={limit}" in line for line in warned)


async def test_a_worker_with_a_delayed_successor_is_counted_once() -> None:
    """A worker whose successor fails to start at first counts as one replaced worker, not one per attempt."""
    async with ServerProcess.running(answer, workers_max_memory=2048) as server:
        supervisor = server.process.pid
        files = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (8, files[1]))
        pid = server.worker(0)
        os.kill(pid, signal.SIGKILL)
        await logged(server, "a worker has failed to start worker=0", 2)
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, files)
        await until(lambda: server.worker(0) != pid and server.is_serving(0), 60)
        assert 'embedwire_worker_replacements_total{reason="ended"} 1.0' in await metrics_of(server, 0)


@pytest.mark.parametrize("stage", ["a worker is replaced", "draining.*worker=0"])
async def test_a_signal_while_a_worker_is_replaced(stage: str) -> None:
    """SIGTERM during a replacement ends old and new workers with exit code 0, and leaves no process."""
    go_on, visits = asyncio.Event(), list[Visit]()

    async def wait(visit: Visit) -> None:
        visits.append(visit)
        await go_on.wait()
        await visit.answer(reply())

    async with ServerProcess.running(wait, workers_max_age=2) as server:
        waiting = asyncio.ensure_future(code(server.stub))
        await logged(server, stage)
        ending = asyncio.ensure_future(server.terminate())
        await logged(server, r"draining .*workers=1")
        go_on.set()
        assert await ending == 0
        assert await waiting in {OK, grpc.StatusCode.UNAVAILABLE}
        pids = [int(found[1]) for line in server.log if (found := re.search(r"a worker starts .*pid=(\d+)", line))]
        assert not any(map(is_running, pids))
    assert not any("Traceback" in line for line in server.log)


@contextlib.asynccontextmanager
async def draining(workers: int, **settings: Any) -> AsyncGenerator[tuple[ServerProcess, int]]:
    """A server and the worker of it that has been replaced, which drains until the block ends."""
    go_on = asyncio.Event()

    async def wait(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    async with ServerProcess.running(
        wait, workers=workers, workers_max_age=3, shutdown_grace_period=600, **settings
    ) as server:
        calls = [asyncio.ensure_future(own_code(server.target, 600)) for _ in range(CONNECTIONS)]
        await logged(server, "serving metrics ")
        yield server, int((await logged(server, r"is replaced worker=(\d)"))[1])
        assert not any("a replaced worker has exited" in line for line in server.log)
        go_on.set()
        await asyncio.gather(*calls)
        await logged(server, "a replaced worker has exited")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_successor_is_restarted_while_the_old_worker_drains(number: signal.Signals) -> None:
    """The ended successor of the only worker is restarted long before the calls of the old worker have ended."""
    async with draining(workers=1, workers_timeout=5) as (server, _):
        pid = server.worker(0)
        os.kill(pid, number)
        await logged(server, rf"a worker has exited unexpectedly worker=0 pid={pid} exit_status=-9")
        await until(lambda: server.worker(0) != pid and server.is_serving(0), 60)


async def test_a_worker_that_ends_before_it_can_be_replaced_is_started_again() -> None:
    """A worker over its age that dies while another one drains is restarted immediately, not after the drain."""
    async with draining(workers=2) as (server, first):
        index = 1 - first
        pid = server.worker(index)
        await asyncio.sleep(3)  # over its age limit by now; on a slow machine a bit later
        os.kill(pid, signal.SIGKILL)
        await logged(server, rf"a worker has exited unexpectedly worker={index} pid={pid} exit_status=-9")
        await until(lambda: server.worker(index) != pid and server.is_serving(index), 60)


def chosen(**settings: Any) -> Settings:
    return settings_of(**settings)


def test_limits_of_workers_are_spread() -> None:
    """Each worker has its own limits of age and memory: up to 10 % below the configured ones, and never above."""
    settings = chosen(workers_max_age=1000, workers_max_memory=1000)
    found = [Lifespan.of(settings) for _ in range(200)]

    for values, most in (([one.age for one in found], 1000), ([one.memory for one in found], 1000 * MIB)):
        assert len(set(values)) > 100
        assert most * (1 - LIFESPAN_JITTER) <= min(values) <= max(values) <= most


def test_no_worker_is_replaced_by_default() -> None:
    """By default no worker is replaced, and one worker has no supervisor; either limit starts one."""
    assert Lifespan.of(chosen()) == Lifespan()
    assert not chosen().workers.have_supervisor
    assert chosen(workers_max_age=60).workers.have_supervisor
    assert chosen(workers_max_memory=512).workers.have_supervisor
