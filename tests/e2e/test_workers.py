"""`serve --workers`: several processes on one port, from the outside."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.app import App
from embedwire_server.core.address import Address
from embedwire_server.process.port_reservation import reserve_port
from tests.support.messages import text_input
from tests.support.ports import held_port
from tests.support.process import ServerProcess
from tests.support.serving import settings_of, until
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
# With this many connections a worker of two gets none only once in a million runs.
CONNECTIONS = 20


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


@contextlib.asynccontextmanager
async def calls(target: str, number: int = CONNECTIONS) -> AsyncGenerator[list[Any]]:
    """Running calls on separate connections, which the kernel distributes."""
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for _ in range(number):
            channel = grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
            stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(await stack.enter_async_context(channel))
            running.append(stub.CreateEmbeddingUnary(TEXT, timeout=30))
        yield running


async def codes(target: str, number: int = CONNECTIONS) -> list[grpc.StatusCode]:
    async with calls(target, number) as running:
        return [await call.code() for call in running]


def handled(metrics: str) -> int:
    found = re.findall(r'grpc_server_handled_total{[^}]*"OK"[^}]*CreateEmbeddingUnary"[^}]*} (\d+)', metrics)
    return sum(map(int, found))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_free(address: Address) -> bool:
    with contextlib.suppress(OSError), reserve_port(address):
        return True
    return False


def serve(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embedwire_server", "serve", "--upstream", "sandbox", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)


async def test_workers_share_a_port_and_a_sandbox() -> None:
    """Two workers each answer some connections, with metrics and logs of their own; one sandbox serves both."""
    async with ServerProcess.running(workers=2) as server:
        async with calls(server.target) as running:
            answers = await asyncio.gather(*running)
        shares = [handled(server.metrics(worker)) for worker in range(2)]
        for worker in range(2):
            assert 'embedwire_upstream_info{upstream="sandbox"} 1.0' in server.metrics(worker)
            of_worker = ("CreateEmbeddingUnary", f"worker={worker}")
            await until(
                lambda texts=of_worker, share=shares[worker]: (  # type: ignore[misc]
                    sum(all(text in line for text in texts) for line in server.log) == share
                )
            )

    assert sum(shares) == CONNECTIONS
    assert all(shares)
    assert {one.embeddings[0].result.upstream for one in answers} == {"sandbox"}
    assert sum("using the embedded sandbox" in line for line in server.log) == 1


def metrics_of_latest(server: ServerProcess, worker: int) -> list[str]:
    """The metrics URL of the latest process of a worker; empty until it serves."""
    lines = [line for line in server.log if f"worker={worker}" in line]
    start = max(number for number, line in enumerate(lines) if "a worker starts" in line)
    return [url for line in lines[start:] for url in re.findall(r"metrics=(http://\S+/metrics)", line)]


async def test_a_worker_that_dies_is_restarted() -> None:
    """A worker that dies is logged and restarted with a growing delay; the other worker answers all calls."""
    async with ServerProcess.running(answer, workers=2) as server:
        for pause in ("0.25", "0.5"):
            pid = server.worker(0)
            os.kill(pid, signal.SIGKILL)
            ended = f"worker=0 pid={pid} exit_status=-9 starts_again_in={pause}"
            await until(lambda text=ended: any(text in line for line in server.log))  # type: ignore[misc]
            assert set(await codes(server.target, 4)) == {grpc.StatusCode.OK}
            await until(lambda before=pid: server.worker(0) != before)  # type: ignore[misc]
        await until(lambda: bool(metrics_of_latest(server, 0)))
        server.metrics_urls += metrics_of_latest(server, 0)
        assert set(await codes(server.target)) == {grpc.StatusCode.OK}
        assert handled(server.metrics(-1)) > 0
        assert await server.terminate() == 0


async def test_a_signal_drains_all_workers() -> None:
    """Running calls of all workers complete and the exit code is 0, also if the workers get the signal directly."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    async with ServerProcess.running(script, workers=2) as server, calls(server.target) as running:
        waiting = [asyncio.ensure_future(call.code()) for call in running]
        await until(lambda: sum(in_flight(server.metrics(worker)) for worker in range(2)) == CONNECTIONS)
        pids = [server.worker(index) for index in range(2)]
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        ending = asyncio.ensure_future(server.terminate())
        await until(lambda: sum("draining" in line and "worker=" in line for line in server.log) == 2)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        go_on.set()
        assert set(await asyncio.gather(*waiting)) == {grpc.StatusCode.OK}
        assert await ending == 0

    assert not any(map(is_running, pids))
    assert not any("Traceback" in line or "has exited" in line for line in server.log)


def in_flight(metrics: str) -> float:
    return float(re.findall(r'embedwire_inputs_in_flight{modality="text"} (\S+)', metrics)[0])


async def test_a_second_signal_ends_all_workers() -> None:
    """A second signal ends a long drain immediately, and leaves no worker."""
    async with ServerProcess.running(answer, workers=2, shutdown_delay=60) as server:
        pids = [server.worker(index) for index in range(2)]
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: sum("draining" in line and "worker=" in line for line in server.log) == 2)
        assert await server.terminate() == -signal.SIGTERM
        await until(lambda: not any(map(is_running, pids)))


async def test_the_port_is_held_by_the_server() -> None:
    """A second server, with workers or not, cannot bind; if the supervisor is killed, no worker keeps the port."""
    async with ServerProcess.running(answer, workers=2) as server:
        words = ("--listen", server.target, "--metrics-listen", "127.0.0.1:0", "--workers")
        for ended in await asyncio.gather(*[asyncio.to_thread(serve, *words, workers) for workers in "12"]):
            line = ended.stderr.splitlines()[-1]
            assert ended.returncode == 1
            assert line.startswith("embedwire-server: cannot start: ")
            assert server.target in line
        pids = [server.worker(index) for index in range(2)]
        server.kill()
        await until(lambda: not any(map(is_running, pids)) and is_free(Address(server.target)))


@contextlib.contextmanager
def held_port_below_a_taken_one() -> Generator[int]:
    """A free port for the server, and the next one, on which something listens: both are bound by this test."""
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            port = stack.enter_context(held_port())
            with contextlib.suppress(OSError, OverflowError):  # another process has the next port, or it does not exist
                stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
                break
        else:
            raise AssertionError("no two adjacent ports are free")
        yield port


def test_a_worker_that_does_not_start_ends_the_server() -> None:
    """If the metrics port of worker 1, next to the first, is in use, the server reports it and exits with 1."""
    with held_port_below_a_taken_one() as port:
        words = ("--listen", "127.0.0.1:0", "--metrics-listen", f"127.0.0.1:{port}", "--workers", "2")
        ended = serve(*words, "--shutdown-delay", "60")
    lines = ended.stderr.splitlines()

    assert ended.returncode == 1
    fault = f"--metrics-listen 127.0.0.1:{port + 1}: Address already in use"
    assert lines[-1] == f"embedwire-server: cannot start: worker 1: {fault}"
    assert "Traceback" not in ended.stderr
    assert not any(is_running(int(pid)) for pid in re.findall(r"pid=(\d+)", ended.stderr))


def test_a_reserved_port_is_for_workers_only() -> None:
    """Before any worker listens, other processes cannot bind the port; workers can, with SO_REUSEPORT."""
    with reserve_port(Address("127.0.0.1:0")) as held:
        host, port = held.getsockname()
        for _ in range(2):
            with pytest.raises(OSError, match=f"--listen 127.0.0.1:{port}: Address already in use"):
                reserve_port(Address(f"{host}:{port}"))
        with pytest.raises(OSError, match="in use"):
            socket.create_server((host, port))
        with (
            socket.create_server((host, port), reuse_port=True),
            socket.create_server((host, port), reuse_port=True),
            socket.create_connection((host, port)),
        ):
            pass


def test_connections_in_time_wait_do_not_block_the_port() -> None:
    """Workers start immediately after a single-process server has ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        with socket.create_connection((host, port)):
            listening.accept()[0].close()  # the side that closes first keeps the connection in TIME_WAIT
    with reserve_port(Address(f"{host}:{port}")), socket.create_server((host, port), reuse_port=True):
        pass


async def test_the_sandbox_gets_a_generated_key() -> None:
    """A worker calls the sandbox of its supervisor by the name `sandbox`, with a generated key."""
    async with ScriptedHttpServer(answer).running() as upstream:
        settings: dict[str, Any] = {
            "api_key": "tlk_CANARY",
            "listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "upstream": "sandbox",
        }
        async with App(settings_of(**settings), sandbox_url=upstream.base_url) as app, calls(app.target, 1) as running:
            found = await running[0]

    assert found.embeddings[0].result.upstream == "sandbox"
    assert "CANARY" not in str(upstream.visits[0].headers)
