"""Hung workers: they are replaced, and no state of a worker delays the end of the server for long."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.core.address import Address
from embedwire_server.process.port_reservation import reserve_port
from embedwire_server.process.supervisor import Supervisor
from tests.support.messages import text_input
from tests.support.pki import bearer, replace, sha256
from tests.support.process import HANGING_SERVER, ServerProcess, start
from tests.support.serving import settings_of, until
from tests.support.upstreams import Visit, reply

OK = grpc.StatusCode.OK
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
CONNECTIONS = 20  # with this many connections a worker of two gets none only once in a million runs
HANG = {
    "stopped": signal.SIGSTOP,
    "in a system call": signal.SIGUSR1,
    "in C code": signal.SIGUSR2,
}
hangs = pytest.mark.parametrize("number", HANG.values(), ids=HANG)


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def code(target: str, token: str = "") -> grpc.StatusCode:
    """The status code of a call on its own connection."""
    async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        metadata = bearer(token) if token else ()
        found: grpc.StatusCode = await stub.CreateEmbeddingUnary(TEXT, metadata=metadata, timeout=20).code()
        return found


async def codes(target: str, token: str = "") -> set[grpc.StatusCode]:
    return set(await asyncio.gather(*[code(target, token) for _ in range(CONNECTIONS)]))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def logged(server: ServerProcess, pattern: str) -> None:
    await until(lambda: any(re.search(pattern, line) for line in server.log), 40)


@hangs
async def test_a_hung_worker_is_replaced(number: signal.Signals) -> None:
    """A worker hung in any way is killed after the timeout and restarted; the other worker serves all the time."""
    async with ServerProcess.running(answer, program=HANGING_SERVER, workers=2, workers_timeout=10) as server:
        pids = [server.worker(0), server.worker(1)]
        os.kill(pids[0], number)
        await logged(server, rf"a hung worker is killed worker=0 pid={pids[0]} reason=no heartbeat for 10 s")
        await logged(server, rf"has exited unexpectedly worker=0 pid={pids[0]} exit_status=-9")
        await until(lambda: server.worker(0) != pids[0])
        await until(lambda: server.is_serving(0), 40)
        assert await codes(server.target) == {OK}
        assert server.worker(1) == pids[1]
        assert await server.terminate() == 0

    assert sum("a hung worker is killed" in line for line in server.log) == 1


@hangs
async def test_a_hung_worker_does_not_delay_the_end(number: signal.Signals) -> None:
    """Calls of the other worker complete, the hung one is killed after the grace period, and the exit code is 0."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    async with ServerProcess.running(
        script, program=HANGING_SERVER, workers=2, shutdown_grace_period=1, shutdown_delay=0.5
    ) as server:
        running = [asyncio.ensure_future(code(server.target)) for _ in range(CONNECTIONS)]
        await until(lambda: sum(in_flight(server, worker) for worker in (0, 1)) == CONNECTIONS)
        expected = in_flight(server, 1)
        pid = server.worker(0)
        os.kill(pid, number)
        ending = asyncio.ensure_future(server.terminate())
        await logged(server, "draining .*worker=1")
        go_on.set()
        assert await ending == 0
        assert sum(found is OK for found in await asyncio.gather(*running)) >= expected

    assert not is_running(pid)
    assert sum(f"pid={pid} reason=did not stop within the shutdown delay" in line for line in server.log) == 1


def in_flight(server: ServerProcess, worker: int) -> float:
    found = re.findall(r'embedwire_inputs_in_flight{modality="text"} (\S+)', server.metrics(worker))
    return float(found[0]) if found else 0.0


async def test_the_end_does_not_wait_for_a_worker_hung_in_its_start() -> None:
    """A restarted worker that was stopped before it served is killed like any other."""
    async with ServerProcess.running(answer, workers=2, shutdown_grace_period=0.5) as server:
        first = server.worker(0)
        os.kill(first, signal.SIGKILL)
        await until(lambda: server.worker(0) != first)
        os.kill(server.worker(0), signal.SIGSTOP)
        assert await server.terminate() == 0
        assert not is_running(server.worker(0))


async def test_the_end_does_not_wait_for_a_restart() -> None:
    """SIGTERM ends the server immediately while a crashing worker waits for its restart."""
    async with ServerProcess.running(answer, workers=2) as server:
        for pause in ("0.25", "0.5", "1.0", "2.0"):
            pid = server.worker(0)
            os.kill(pid, signal.SIGKILL)
            await logged(server, f"worker=0 pid={pid} exit_status=-9 starts_again_in={pause}")
            if pause != "2.0":
                await until(lambda before=pid: server.worker(0) != before)  # type: ignore[misc]
        assert await server.terminate() == 0


@pytest.mark.parametrize("hung", [False, True], ids=["starting", "stopped"])
async def test_a_signal_to_all_during_the_first_start_is_no_failure(hung: bool) -> None:  # noqa: FBT001
    """SIGTERM to the whole process group while workers start, or hang in their start, gives exit code 0."""
    process = await start(workers=2, shutdown_grace_period=0.5)
    assert process.stderr is not None
    pids: list[int] = []
    while len(pids) < 2:
        line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        pids += map(int, re.findall(r"a worker starts .*pid=(\d+)", line))
    if hung:
        os.kill(pids[0], signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGTERM)
    _, rest = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert b"cannot start" not in rest
    assert not any(map(is_running, pids))


async def test_a_worker_hung_in_its_start_is_killed() -> None:
    """A worker hung in the first start of the server is killed; the server names it, and ends."""
    chosen: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "127.0.0.1:0",
        "workers": 2,
        "shutdown_grace_period": 0,
    }
    supervisor = Supervisor(settings_of(**chosen), start_timeout=5)
    with capture_logs() as logs:
        starting = asyncio.ensure_future(supervisor.__aenter__())
        await until(lambda: sum(entry["event"] == "a worker starts" for entry in logs) == 2)
    pids = [entry["pid"] for entry in logs if entry["event"] == "a worker starts"]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RuntimeError, match="worker 0: did not start within 5 s"):
        await starting
    assert not any(map(is_running, pids))


async def test_a_reload_does_not_wait_for_a_hung_worker(tmp_path: Path) -> None:
    """More tokens than fit into a pipe reach the other worker immediately, and the stopped one when it continues."""
    config = tmp_path / "embedwire.toml"

    def write(*names: str) -> None:
        many = [*names, *[f"n{number}" for number in range(1500)]]
        replace(config, "".join(f'[[tokens]]\nname = "{name}"\nsha256 = "{sha256(name)}"\n' for name in many).encode())

    write("old")
    async with ServerProcess.running(answer, workers=2, config=config) as server:
        pid = server.worker(0)
        os.kill(pid, signal.SIGSTOP)
        for count in (1, 2, 3):
            write("new")
            server.process.send_signal(signal.SIGHUP)
            await until(lambda number=count: sum("was reloaded" in line for line in server.log) >= number, 20)  # type: ignore[misc]
        os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            while await codes(server.target, "new") != {OK}:
                await asyncio.sleep(0.05)
        assert await server.terminate() == 0


async def test_a_stopped_supervisor_kills_no_worker() -> None:
    """After a stop of the supervisor, its workers, which served meanwhile, have the full timeout again."""
    async with ServerProcess.running(answer, workers=2, workers_timeout=8) as server:
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(10)  # longer than the timeout
        assert await codes(server.target) == {OK}
        server.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(1)  # enough for several checks; on a slow machine for fewer
        assert await codes(server.target) == {OK}
        assert await server.terminate() == 0

    assert not any("a hung worker is killed" in line for line in server.log)


@hangs
async def test_hung_workers_end_with_their_supervisor(number: signal.Signals) -> None:
    """If a stopped supervisor is killed, a hung worker does not keep the port."""
    async with ServerProcess.running(answer, program=HANGING_SERVER, workers=2) as server:
        pids = [server.worker(0), server.worker(1)]
        os.kill(pids[0], number)
        server.process.send_signal(signal.SIGSTOP)
        server.kill()
        await until(lambda: not any(map(is_running, pids)))


async def test_a_second_signal_ends_a_process_that_hangs() -> None:
    """In a process without workers whose event loop is blocked, a SIGTERM after the first ends it."""
    async with ServerProcess.running(answer, program=HANGING_SERVER) as server:
        server.process.send_signal(signal.SIGUSR1)

        def has_ended() -> bool:
            if server.process.returncode is None:
                server.process.send_signal(signal.SIGTERM)
            return server.process.returncode is not None

        async with asyncio.timeout(20):
            while not has_ended():
                await asyncio.sleep(0.1)
        assert server.process.returncode == -signal.SIGTERM


async def test_two_supervisors_never_reserve_the_same_port() -> None:
    """Of two concurrent attempts, at most one reserves the port."""
    with reserve_port(Address("127.0.0.1:0")) as held:
        address = Address("{}:{}".format(*held.getsockname()))
    both = 0

    def attempt() -> Any:
        try:
            return reserve_port(address)
        except OSError:
            return None

    for _ in range(2000):
        got = [one for one in await asyncio.gather(*[asyncio.to_thread(attempt) for _ in range(2)]) if one]
        both += len(got) == 2
        for one in got:
            one.close()
    assert both == 0
