"""Untested versions of grpcio: every call is answered, with the public API only."""

import asyncio
import collections
import contextlib
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from packaging.requirements import Requirement

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.rpc.grpcio import guard
from embedwire_server.rpc.services import ACCEPT_LOOPS
from tests.support import pki
from tests.support.messages import text_input
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import Script, Visit, reply

PROGRAM = (str(Path(__file__).parents[1] / "programs/changed_grpcio.py"),)
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
STREAMED = pb.CreateEmbeddingRequest(model_name="marengo3.0", inputs=[text_input()])
ROOT = Path(__file__).parents[2]
CALLERS = 16
METHODS = 5  # methods with accept loops, including the health check
OK = grpc.StatusCode.OK
AT_THE_START = ("missing", "schedule", "handle", "inside", "end", "request")
LATE = tuple(f"late {changed}" for changed in AT_THE_START if changed != "missing")


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


def running(changed: str, script: Script = answer, **settings: Any) -> Any:
    return ServerProcess.running(script, environment={"CHANGED_GRPCIO": changed}, program=PROGRAM, **settings)


async def code(stub: Any) -> grpc.StatusCode:
    found: grpc.StatusCode = await stub.CreateEmbeddingUnary(TEXT, timeout=30).code()
    return found


async def streamed(stub: Any) -> grpc.StatusCode:
    call = stub.CreateEmbedding(STREAMED, timeout=30)
    try:
        assert len([message async for message in call]) == 2
    except grpc.aio.AioRpcError as error:
        return error.code()
    return OK


async def health(channel: grpc.aio.Channel) -> int:
    request = health_pb2.HealthCheckRequest(service="embedwire.v1.EmbeddingService")
    found: int = (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=60)).status
    return found


def own_channel(target: str, files: pki.Files | None) -> grpc.aio.Channel:
    """A connection that is not shared with other calls."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if files is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target.replace("127.0.0.1", "localhost"), files.credentials(), options)


def uses_private_api(server: ServerProcess, worker: int = 0) -> bool:
    return "embedwire_grpc_private_api 1.0" in server.metrics(worker)


def reported(server: ServerProcess, *texts: str) -> int:
    return sum(all(text in line for text in texts) for line in server.log)


@pytest.mark.parametrize("changed", AT_THE_START)
async def test_a_changed_signature_costs_no_call(changed: str) -> None:
    """A changed private API is found before the first call and logged once; more calls than accept loops are all OK."""
    async with running(changed) as server:
        assert not uses_private_api(server)
        assert reported(server, "the private API of grpcio does not work as tested") == 1
        one_by_one = [await call(server.stub) for _ in range(3 * ACCEPT_LOOPS + 3) for call in (code, streamed)]
        at_once = await asyncio.gather(*[code(server.stub) for _ in range(100)])
        assert set(one_by_one) | set(at_once) == {OK}
        assert await health(server.channel) == health_pb2.HealthCheckResponse.SERVING
        assert await server.terminate() == 0

    assert not any("Traceback" in line or "never" in line for line in server.log)


@pytest.mark.parametrize("changed", LATE)
async def test_failed_accept_loops_are_closed(changed: str) -> None:
    """Running calls complete; each accept loop loses at most one call, with UNAVAILABLE; all later calls are OK."""
    go_on = asyncio.Event()

    async def first_waits(visit: Visit) -> None:
        if len(visits) < 2:
            visits.append(visit)
            await go_on.wait()
        await visit.answer(reply())

    visits: list[Visit] = []
    async with running(changed, first_waits) as server:
        assert uses_private_api(server)
        waiting = [asyncio.ensure_future(call(server.stub)) for call in (code, streamed)]
        await until(lambda: len(visits) == 2)
        server.process.send_signal(signal.SIGUSR1)
        found = collections.Counter([await code(server.stub) for _ in range(2 * ACCEPT_LOOPS)])
        await until(lambda: reported(server, "serving with the public API of grpcio") == 1)
        assert found.keys() <= {OK, grpc.StatusCode.UNAVAILABLE}
        assert found[grpc.StatusCode.UNAVAILABLE] <= METHODS * ACCEPT_LOOPS
        assert not uses_private_api(server)
        assert {await code(server.stub) for _ in range(3 * ACCEPT_LOOPS)} == {OK}
        assert await health(server.channel) == health_pb2.HealthCheckResponse.SERVING
        go_on.set()
        assert set(await asyncio.gather(*waiting)) == {OK}
        assert await server.terminate() == 0

    assert reported(server, "an accept loop has failed") == 1
    assert reported(server, "a call is rejected") == found[grpc.StatusCode.UNAVAILABLE]
    assert bool(found[grpc.StatusCode.UNAVAILABLE]) == (changed not in {"late request", "late end"})
    assert not any("Traceback" in line or "never" in line or "CANCELLED" in line for line in server.log)


@pytest.mark.parametrize("settings", [{}, {"workers": 2}, {"tls": True}], ids=["plain", "workers", "TLS"])
async def test_callers_find_the_server_that_takes_over(settings: dict[str, Any], tmp_path: Path) -> None:
    """Continuous calls while the accept loops fail end with OK or UNAVAILABLE, and at last only with OK."""
    files = pki.Files(tmp_path) if settings.get("tls") else None
    chosen = settings if files is None else files.settings
    async with running("late handle", **chosen) as server, contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(own_channel(server.target, files)) for _ in range(CALLERS)]
        stubs: list[Any] = [embedding_pb2_grpc.EmbeddingServiceStub(channel) for channel in channels]
        assert {await code(stub) for stub in stubs} == {OK}
        if files is not None:
            files.renew()
        pids = [server.worker(index) for index in range(2)] if "workers" in settings else [server.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        found: collections.Counter[grpc.StatusCode] = collections.Counter()

        async def call_until_replaced(stub: Any) -> None:
            while reported(server, "serving with the public API of grpcio") < len(pids):
                found[await code(stub)] += 1

        await asyncio.wait_for(asyncio.gather(*map(call_until_replaced, stubs)), 60)
        assert found.keys() <= {OK, grpc.StatusCode.UNAVAILABLE}
        for channel in channels:  # a connection that was refused while the port was closed is retried after a second
            await asyncio.wait_for(channel.channel_ready(), 30)
        assert {await code(stub) for _ in range(5) for stub in stubs} == {OK}
        if files is not None:
            assert pki.shown_by(server.target) in files.certificate.read_text()
        assert await server.terminate() == 0

    assert reported(server, "an accept loop has failed") == len(pids)
    assert not any("Traceback" in line or "code=CANCELLED" in line for line in server.log)


async def test_a_server_takes_over_with_the_certificate_that_is_in_force(tmp_path: Path) -> None:
    """If the files are broken when the accept loops fail, the port opens again with the last valid certificate."""
    files = pki.Files(tmp_path)
    async with running("late handle", **files.settings) as server:
        files.renew()
        shown = await asyncio.to_thread(pki.shown_by, server.target)
        assert shown in files.certificate.read_text()
        files.key.write_text("broken")
        server.process.send_signal(signal.SIGUSR1)
        async with own_channel(server.target, files) as channel:
            stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
            assert {await code(stub) for _ in range(2 * ACCEPT_LOOPS)} <= {OK, grpc.StatusCode.UNAVAILABLE}
        await until(lambda: reported(server, "serving with the public API of grpcio") == 1)
        assert await asyncio.to_thread(pki.shown_by, server.target) == shown


@pytest.mark.parametrize("changed", LATE)
async def test_accept_loops_that_fail_in_a_drain(changed: str) -> None:
    """Accept loops that fail in a drain do not restart the server: it exits with 0, and a call is OK or UNAVAILABLE."""
    async with running(changed, shutdown_delay=2) as server:
        ending = asyncio.ensure_future(server.terminate())
        await until(lambda: reported(server, "draining") == 1)
        server.process.send_signal(signal.SIGUSR1)
        found = await asyncio.gather(*[code(server.stub) for _ in range(10)])
        assert {*found} <= {OK, grpc.StatusCode.UNAVAILABLE}
        assert await ending == 0

    assert not any("Traceback" in line for line in server.log)


async def test_another_minor_version_is_one_warning() -> None:
    """With another minor version the private API is not used; the log names the installed and the tested version."""
    async with running("version") as server:
        assert not uses_private_api(server)
        assert {await code(server.stub) for _ in range(2 * ACCEPT_LOOPS)} == {OK}
        assert await health(server.channel) == health_pb2.HealthCheckResponse.SERVING

    (line,) = [line for line in server.log if "warning" in line and "grpcio" in line]
    assert "installed=1.86.0 tested=1.85.x" in line
    assert not any("error" in line for line in server.log)


async def test_a_self_check_without_a_response_logs_its_status() -> None:
    """A self-check call without a response ends by its deadline, which is logged; the server still starts."""
    async with running("forgotten") as server:
        assert reported(server, "does not work as tested", "error_type=grpc.aio", "AioRpcError") == 1
        assert {await code(server.stub) for _ in range(2 * ACCEPT_LOOPS)} == {OK}


async def test_the_public_api_only() -> None:
    """The setting for the public API is followed without a log line, also where the private API does not work."""
    async with running("missing", server_grpc_public_api_only="true") as server:
        assert not uses_private_api(server)
        assert {await code(server.stub) for _ in range(2 * ACCEPT_LOOPS)} == {OK}
        assert {await streamed(server.stub) for _ in range(2)} == {OK}

    assert not any("grpcio" in line for line in server.log)


def test_the_version_bound_is_the_tested_version() -> None:
    """pyproject.toml allows the minor version that the guard allows, and no later one; it is the installed one."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {found.name: found.specifier for found in map(Requirement, declared) if found.name.startswith("grpcio")}
    major, minor = map(int, guard.TESTED.split("."))

    assert bounds.keys() == {"grpcio", "grpcio-health-checking", "grpcio-reflection"}
    for bound in bounds.values():
        assert f"{guard.TESTED}.9" in bound
        assert f"{major}.{minor + 1}.0" not in bound
    assert grpc.__version__.startswith(f"{guard.TESTED}.")
