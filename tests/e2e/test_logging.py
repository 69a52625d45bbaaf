"""A log that cannot be written, or that other code writes into, costs no call and stays readable."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support import http2
from tests.support.http2 import Connection, frame
from tests.support.messages import text_input
from tests.support.pki import Files
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.unlogged import Unlogged, output

TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
NOTHING = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0")


def parsed(log: list[str] | list[bytes]) -> list[dict[str, Any]]:
    """Each line as a JSON object; fails for any other line."""
    return [json.loads(line) for line in log]


def run(program: str, form: str = "json", **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program in a process with logging set up."""
    setup = f"from embedwire_server.observability import logs\nlogs.configure('debug', '{form}')\n"
    command = [sys.executable, "-c", setup + textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)


@pytest.mark.parametrize("kind", ["reader-gone", "full-disk", "blocked-reader", "blocked-nonblocking", "closed"])
async def test_calls_succeed_without_a_log(kind: str) -> None:
    """With any kind of blocked log all calls succeed, lost lines are counted, and SIGTERM ends the process."""
    with output(kind) as stderr:
        async with Unlogged.running(stderr) as server:
            codes = [await server.stub.CreateEmbeddingUnary(TEXT, timeout=20).code() for _ in range(30)]
            refused = await server.stub.CreateEmbeddingUnary(NOTHING, timeout=20).code()
            if not kind.startswith("blocked"):
                await server.has_dropped(31)
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, 20) == 0

    assert set(codes) == {grpc.StatusCode.OK}
    assert refused is grpc.StatusCode.INVALID_ARGUMENT


async def test_lost_lines_are_reported(tmp_path: Path) -> None:
    """When a file can be written again, no line is broken and one has the number of lost lines."""
    import resource  # noqa: PLC0415

    log = tmp_path / "log"
    with log.open("ab") as stderr:
        async with Unlogged.running(stderr, log_format="json") as server:
            await server.stub.CreateEmbeddingUnary(TEXT, timeout=20)
            await until(lambda: '"call"' in log.read_text())
            # The next line fits in part, as on a disk that becomes full.
            limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 20, limits[1]))
            codes = [await server.stub.CreateEmbeddingUnary(TEXT, timeout=20).code() for _ in range(10)]
            await until(lambda: log.read_bytes()[-1:] != b"\n")
            await server.has_dropped(1)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
            await server.stub.CreateEmbeddingUnary(TEXT, timeout=20)
            await until(lambda: "log lines were lost" in log.read_text())
            lost = await server.dropped()
            await until(lambda: log.read_text().count('"body": "call"') >= 12 - lost)

    lines = parsed(log.read_text().splitlines())
    assert set(codes) == {grpc.StatusCode.OK}
    assert sum(line["body"] == "call" for line in lines) == 12 - lost
    assert [line["embedwire.lines"] for line in lines if line["body"] == "log lines were lost"] == [lost]


VALUES = {
    "a repr that raises": "type('Bad', (), {'__repr__': lambda _: 1 / 0})()",
    "a text that raises": "type('Bad', (), {'__str__': lambda _: 1 / 0, '__repr__': lambda _: 'ok'})()",
    "half a surrogate pair": "'\\ud800'",
    "another script": "'\\U0001f600 \\u00e9'",
    "not a number": "float('nan')",
    "infinity": "[float('inf')]",
    "a huge integer": "10 ** 5000",
    "a circle": "(lambda found: found.append(found) or found)([])",
    "depth": "(lambda f: f(f, 3000))(lambda f, depth: [f(f, depth - 1)] if depth > 2900 else [])",
    "a key that is no text": "{(1, 2): 3}",
    "bytes": "b'\\xff'",
    "a huge text": "'x' * (20 << 20)",
    "line breaks": "'a\\nb\\r\\u2028c'",
    "an exception": "ValueError('\\ud800')",
}


@pytest.mark.parametrize("form", ["json", "text"])
def test_any_value_makes_a_line(form: str) -> None:
    """Any value in an event, as field, text, or argument of another library's record, gives one short line."""
    values = ", ".join(f"{name!r}: {value}" for name, value in VALUES.items())
    ended = run(
        f"""
        import logging, structlog
        log, library = structlog.get_logger("some.where"), logging.getLogger("library")
        for name, value in {{{values}}}.items():
            log.info("the event", fact=value)
            log.info(value)
            library.warning("an argument: %s", value)
            library.warning("no number: %d", value)
            library.warning(value)
            log.info(f"five lines of {{name}}")
        """,
        form,
    )
    lines = ended.stderr.removesuffix("\n").split("\n")
    assert (ended.returncode, ended.stdout) == (0, "")
    for name, *five, end in zip(VALUES, *[iter(lines)] * 6, strict=True):
        assert f"five lines of {name}" in end
        assert sum(map(len, five)) < 1 << 19, name
        if form == "json":
            assert {line["severity_text"] for line in parsed(five)} == {"INFO", "WARN"}, name
            assert not any(word in line for word in ("NaN", "Infinity") for line in five), name


def test_all_output_becomes_lines() -> None:
    """Text written by Python and C, warnings, and exceptions without their messages are objects with a level."""
    ended = run(
        """
        import asyncio, os, sys, threading, warnings
        from embedwire_server.observability import logs
        from embedwire_server.process import runner
        print("of print", file=sys.stderr)
        print("no end", end="", file=sys.stderr)
        print(" of the line", file=sys.__stderr__, flush=True)
        os.write(2, b"of C, \\xff\\nE0000 00:00:00.1 2 file.cc:3] of gRPC core\\n")
        warnings.warn("of a warning")
        def fail(*_):
            raise ValueError("CANARY")
        threads = threading.Thread(target=fail)
        threads.start()
        threads.join()
        class Finalized:
            __del__ = fail
        Finalized()
        async def loop():
            asyncio.get_running_loop().set_exception_handler(logs.report_loop_exception)
            asyncio.get_running_loop().call_soon(fail, "CANARY")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        asyncio.run(loop())
        print(file=sys.stderr)
        fail()
        """
    )
    lines = parsed(ended.stderr.splitlines())
    levels = {line["body"]: line["severity_text"] for line in lines}
    assert ended.returncode == 1
    assert {"of print", "of C, \\xff"} <= {event for event, level in levels.items() if level == "WARN"}
    assert levels["E0000 00:00:00.1 2 file.cc:3] of gRPC core"] == "ERROR"
    assert any("of a warning" in event for event in levels)
    assert sum(line["body"] == "unexpected exception" for line in lines) == 4
    assert "CANARY" not in ended.stderr


def test_text_of_others_is_unchanged() -> None:
    """In the text format, what other code writes to standard error is not changed."""
    ended = run("import os, sys\nos.write(2, b'of C\\n')\nprint('of Python', file=sys.stderr)", "text")
    assert sorted(ended.stderr.splitlines()) == ["of C", "of Python"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_still_reported(number: signal.Signals) -> None:
    """The crash report of a process reaches the original standard error."""
    ended = run(f"import os\nos.kill(os.getpid(), {int(number)})\nlogs.flush()")
    assert ended.returncode == -number
    assert "Fatal Python error" in ended.stderr
    assert '"<string>", line 4 in <module>' in ended.stderr


def test_writers_are_never_blocked() -> None:
    """With a reader that reads nothing, writes to standard error never block, and neither does the exit."""
    reader, writer = os.pipe()
    program = """
        import logging, os, sys, structlog
        from embedwire_server.observability import logs
        logs.configure("info", "json")
        for number in range(30_000):
            structlog.get_logger().info("of ours", number=number)
            logging.warning("of logging")
            print("of print", file=sys.stderr)
            try:
                os.write(2, b"of C\\n")
            except BlockingIOError:
                pass
        print(logs.dropped_lines())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=True)
    os.close(writer)
    os.close(reader)
    assert int(ended.stdout) > 70_000


@pytest.fixture
def tls(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_core_lines_of_tls_are_objects(tls: Files) -> None:
    """The lines that gRPC core writes about failed TLS handshakes are JSON objects."""
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
    async with ServerProcess.running(log_format="json", **tls.settings) as server:
        for start in (b"GET / HTTP/1.1\r\n\r\n", http2.PREFACE, hello, bytes(100), b"\x15\x03\x01\x00\x02\x02\x28"):
            async with http2.tcp(server.target) as (reader, writer):
                writer.write(start)
                with contextlib.suppress(ConnectionError, TimeoutError):
                    while await asyncio.wait_for(reader.read(1 << 16), 2):
                        pass
        await until(lambda: any('"stderr"' in line for line in server.log))
        await server.terminate()
    assert {line["otel.scope.name"] for line in parsed(server.log)} > {"stderr"}


async def test_core_lines_of_connections_are_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all traces of gRPC core enabled, every line is a JSON object."""
    monkeypatch.setenv("GRPC_VERBOSITY", "debug")
    monkeypatch.setenv("GRPC_TRACE", "http,tcp")
    async with ServerProcess.running(log_format="json") as server:
        async with Connection.open(server.target) as connection:
            await connection.send(*[frame(http2.PING, bytes(8))] * 50)
            assert await asyncio.wait_for(connection.until(http2.PING), 20) is not None
        assert await server.stub.CreateEmbeddingUnary(TEXT, timeout=20).code() is grpc.StatusCode.OK
        await server.terminate()
    lines = parsed(server.log)
    assert sum(line["otel.scope.name"] == "stderr" for line in lines) > 50
    assert [line["rpc.response.status_code"] for line in lines if line["body"] == "call"] == ["OK"]


async def test_a_server_that_cannot_listen_logs_objects() -> None:
    """The lines of gRPC core, the server and the command about a port in use are JSON objects."""
    async with ServerProcess.running() as server:
        flags = ("--listen", server.target, "--metrics-listen", "127.0.0.1:0", "--upstream", "sandbox")
        command = [sys.executable, "-m", "embedwire_server", "serve", "--log-format", "json", *flags]
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, check=False)
    lines = parsed(ended.stderr.splitlines())
    assert ended.returncode == 1
    assert server.target in lines[-1]["body"]


async def test_workers_log_objects() -> None:
    """Lines of workers, of a crashing worker, and of the supervisor are JSON objects; each call is in one."""
    async with ServerProcess.running(workers=2, log_format="json") as server:
        for _ in range(20):
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
                await stub.CreateEmbeddingUnary(TEXT, timeout=20)
        await until(lambda: sum('"call"' in line for line in server.log) == 20)  # a crash loses what is in the buffer
        started = [json.loads(line) for line in server.log if "a worker starts" in line]
        os.kill(started[0]["process.pid"], signal.SIGABRT)
        await until(lambda: any("a worker has exited unexpectedly" in line for line in server.log))
        await server.terminate()
    lines = parsed(server.log)
    assert sum(line["body"] == "call" and line["embedwire.worker"] in {0, 1} for line in lines) == 20
    assert any("Fatal Python error: Aborted" in line["body"] for line in lines)
