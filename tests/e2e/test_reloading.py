"""Reloads by SIGHUP and by a change of the file: what changes, what stays, and what is logged."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import request, text_input
from tests.support.pki import bearer, replace, sha256
from tests.support.ports import held_port
from tests.support.process import SERVER, ServerProcess, start
from tests.support.serving import until
from tests.support.upstreams import Visit, reply

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
RELOADED, REFUSED = "the configuration was reloaded", "the new configuration is invalid, the old one stays in use"
GAUGE = "embedwire_config_last_reload_successful"


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


def write(path: Path, *names: str, more: str = "") -> Path:
    """A configuration whose tokens are the names of their callers."""
    entries = [f'[[tokens]]\nname = "{name}"\nsha256 = "{sha256(name)}"\n' for name in names]
    replace(path, "\n".join([more, *entries]).encode())
    return path


async def hangup(server: ServerProcess, says: str) -> None:
    """Send SIGHUP, and wait for the next log line about it."""
    before = sum(says in line for line in server.log)
    server.process.send_signal(signal.SIGHUP)
    await until(lambda: sum(says in line for line in server.log) > before)


async def code(server: ServerProcess, token: str) -> grpc.StatusCode:
    """The status code of a call on its own connection."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.target, options) as channel:
        stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        found: grpc.StatusCode = await stub.CreateEmbeddingUnary(TEXT, metadata=bearer(token), timeout=20).code()
        return found


def gauge(server: ServerProcess, worker: int = 0) -> float:
    return float(re.findall(rf"^{GAUGE} (\S+)", server.metrics(worker), re.MULTILINE)[0])


async def test_tokens_are_added_and_removed(tmp_path: Path) -> None:
    """A new token is valid from the next call on, a removed one is rejected; its running stream continues."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        if b"slow" in visit.body:
            await go_on.wait()
        await visit.answer(reply())

    config = write(tmp_path / "embedwire.toml", "old", "both")
    async with ServerProcess.running(script, config=config) as server:
        running = server.stub.CreateEmbedding(request(text_input("slow")), metadata=bearer("old"), timeout=50)
        await until(lambda: 'embedwire_client_inputs_total{client="old"' in server.metrics())
        assert [await code(server, name) for name in ("old", "both", "new")] == [OK, OK, UNAUTHENTICATED]
        write(config, "both", "new")
        await hangup(server, RELOADED)
        assert [await code(server, name) for name in ("old", "both", "new")] == [UNAUTHENTICATED, OK, OK]
        go_on.set()
        assert len([event async for event in running]) == 2
        assert await running.code() is OK


def swapped(tmp_path: Path, *names: str) -> None:
    """Replace the file as Kubernetes does: a symbolic link is moved to a new directory."""
    version = tmp_path / f"..{len(list(tmp_path.iterdir()))}"
    version.mkdir()
    write(version / "embedwire.toml", *names)
    (tmp_path / "..new").symlink_to(version.name)
    (tmp_path / "..new").rename(tmp_path / "..data")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_changed_file_is_used_without_a_signal(tmp_path: Path, workers: int) -> None:
    """A file is reloaded when Kubernetes swaps its link, when it is replaced, and when it is written in place."""
    mounted, config = tmp_path / "mounted", tmp_path / "embedwire.toml"
    mounted.mkdir()
    swapped(mounted, "first")
    (mounted / "embedwire.toml").symlink_to("..data/embedwire.toml")
    config.symlink_to(mounted / "embedwire.toml")

    def replaced(path: Path, *names: str) -> None:
        path.unlink()
        write(path, *names)

    def in_place(path: Path, *names: str) -> None:
        path.write_text(write(tmp_path / "other", *names).read_text("utf-8"), "utf-8")

    async with ServerProcess.running(answer, config=config, workers=workers) as server:
        swapped(mounted, "second")
        async with asyncio.timeout(30):
            while [await code(server, name) for name in ("first", "second")] != [UNAUTHENTICATED, OK]:
                await asyncio.sleep(0.02)
        assert any(RELOADED in line for line in server.log)
        replaced(config, "third")
        await until(lambda: sum(RELOADED in line for line in server.log) >= 2)
        async with asyncio.timeout(20):
            while await code(server, "third") is not OK:
                await asyncio.sleep(0.02)
        config.write_text("broken", "utf-8")
        await until(lambda: [gauge(server, worker) for worker in range(workers)] == [0] * workers)
        assert [await code(server, name) for name in ("second", "third")] == [UNAUTHENTICATED, OK]
        in_place(config, "fourth")
        await until(lambda: [gauge(server, worker) for worker in range(workers)] == [1] * workers)
        assert [await code(server, name) for name in ("third", "fourth")] == [UNAUTHENTICATED, OK]
        assert await server.terminate() == 0

    assert "Traceback" not in "".join(server.log)


async def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """After any fault of the file, old tokens and limits stay in force, the log names the fault, and a gauge is 0."""
    config = write(tmp_path / "embedwire.toml", "a")
    secret = f'name = "b"\nsha256 = "{sha256("b")}"\n'
    async with ServerProcess.running(answer, config=config) as server:
        for content in (
            b"[[tokens]",
            b"\xff",
            b"a = " + b"[" * 100_000,
            f"[[tokens]]\n{secret}inputs_in_flight = 0\n".encode(),
            f"[[tokens]]\n{secret}models = ['nope']\n".encode(),
            f"[[tokens]]\n{secret}[[tokens]]\n{secret}".encode(),
            b"[[tokens]]\nname = 'b'\nsha256 = 'ew_secret'\n",
        ):
            replace(config, content)
            await hangup(server, REFUSED)
            assert [await code(server, name) for name in "ab"] == [OK, UNAUTHENTICATED]
        assert gauge(server) == 0
        config.unlink()
        await hangup(server, REFUSED)
        assert [await code(server, name) for name in "ab"] == [OK, UNAUTHENTICATED]
        write(config, "a", "b")
        await hangup(server, RELOADED)
        assert gauge(server) == 1
        assert await code(server, "b") is OK
        assert await server.terminate() == 0

    assert not re.search(f"ew_secret|{sha256('b')}|Traceback", "".join(server.log))


async def test_an_empty_file_admits_no_call(tmp_path: Path) -> None:
    """An empty file does not remove the last token, which would open the server; that needs a restart."""
    config = write(tmp_path / "embedwire.toml", "a")
    async with ServerProcess.running(answer, config=config) as server:
        for content in (b"", b"tokens = []\n"):
            replace(config, content)
            await hangup(server, REFUSED)
            assert [await code(server, name) for name in ("a", "unknown")] == [OK, UNAUTHENTICATED]
        assert gauge(server) == 0


async def test_changes_that_need_a_restart_are_logged(tmp_path: Path) -> None:
    """Changed settings that need a restart are logged by name, and the other changes are in force."""
    config = write(tmp_path / "embedwire.toml", "a", more="request_limits.inputs = 5\nshutdown.grace_period = 1\n")
    async with ServerProcess.running(answer, config=config) as server:
        write(
            config, "a", "b", more="request_limits.inputs = 1\nshutdown.grace_period = 2\nserver.reflection = false\n"
        )
        await hangup(server, "changed settings need a restart")
        assert await code(server, "b") is OK
        two = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input(), text_input()])
        call = server.stub.CreateEmbeddingUnary(two, metadata=bearer("a"), timeout=20)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    line, *_ = [line for line in server.log if "need a restart" in line]  # again if the changed file is noticed later
    assert "shutdown.grace_period" in line
    assert "server.reflection" in line
    assert "request_limits.inputs" not in line


async def test_many_sighups_at_once_load_the_last_file(tmp_path: Path) -> None:
    """SIGHUPs that arrive faster than they are handled lose nothing: the last content is in force."""
    config = write(tmp_path / "embedwire.toml", "first")
    async with ServerProcess.running(answer, config=config) as server:
        for number in range(50):
            write(config, f"n{number}")
            server.process.send_signal(signal.SIGHUP)
        write(config, "last")
        await hangup(server, RELOADED)
        async with asyncio.timeout(20):
            while await code(server, "last") is not OK:
                await asyncio.sleep(0.02)
        assert [await code(server, name) for name in ("first", "n49")] == [UNAUTHENTICATED] * 2


async def test_a_reload_reaches_all_workers(tmp_path: Path) -> None:
    """Each of two workers uses the new tokens, also after its restart; a broken file shows in both gauges."""
    config = write(tmp_path / "embedwire.toml", "old")
    async with ServerProcess.running(answer, config=config, workers=2) as server:
        replace(config, b"broken")
        await hangup(server, REFUSED)
        await until(lambda: [gauge(server, worker) for worker in range(2)] == [0, 0])
        write(config, "new")
        await hangup(server, RELOADED)
        await until(lambda: [gauge(server, worker) for worker in range(2)] == [1, 1])
        assert {await code(server, "new") for _ in range(12)} == {OK}
        assert {await code(server, "old") for _ in range(12)} == {UNAUTHENTICATED}
        pid = server.worker(0)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: server.worker(0) != pid and server.is_serving(0))
        assert {await code(server, "old") for _ in range(12)} == {UNAUTHENTICATED}
        assert {await code(server, "new") for _ in range(12)} == {OK}
        assert await server.terminate() == 0


async def test_a_worker_that_is_started_later_reports_a_refused_file(tmp_path: Path) -> None:
    """In a worker that starts after a broken file the gauge is 0 as well, and 1 after a valid file."""
    config = write(tmp_path / "embedwire.toml", "one")
    with held_port() as port:
        settings: dict[str, Any] = {"metrics_listen": f"127.0.0.1:{port}", "workers_max_memory": 2048}
        async with ServerProcess.running(answer, config=config, **settings) as server:
            replace(config, b"broken")
            await hangup(server, REFUSED)
            pid = server.worker(0)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: server.worker(0) != pid and server.is_serving(0))
            await until(lambda: gauge(server) == 0)
            write(config, "one")
            await hangup(server, RELOADED)
            await until(lambda: gauge(server) == 1)
            assert await server.terminate() == 0


async def test_a_sighup_during_the_start_is_ignored() -> None:
    """A SIGHUP that arrives while modules are imported does not end the server, which continues to start."""
    process = await start(("-X", "importtime", *SERVER))  # prints each module when it has been imported

    async def read_until(text: bytes) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            if text in line:
                return
        raise AssertionError(f"it has ended with {await process.wait()}")

    try:
        async with asyncio.timeout(60):
            await read_until(b"embedwire_server.auth")  # among the first of some hundreds
            process.send_signal(signal.SIGHUP)
            await read_until(b"] serving ")
            process.terminate()
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0
