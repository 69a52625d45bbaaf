"""A server in a process of its own: for tests of signals, memory and crashes."""

import asyncio
import contextlib
import dataclasses
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2_grpc
from tests.support.serving import EVERYWHERE
from tests.support.upstreams import Script, ScriptedHttpServer

SERVER = ("-m", "embedwire_server")
# The same, with signals that make one of its processes hang.
HANGING_SERVER = (str(Path(__file__).parents[1] / "programs/hanging_server.py"),)


@dataclasses.dataclass
class ServerProcess:
    """`embedwire-server serve`, ready for calls; with workers, all of them are."""

    process: asyncio.subprocess.Process
    target: str
    metrics_urls: list[str]
    channel: grpc.aio.Channel
    stub: "embedding_pb2_grpc.EmbeddingServiceAsyncStub"
    log: list[str]
    reading: asyncio.Task[None]

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        script: Script | None = None,
        key: str = "",
        environment: dict[str, str] | None = None,
        files: int | None = None,
        *,
        is_soft: bool = False,
        program: Sequence[str] = SERVER,
        **settings: Any,
    ) -> AsyncGenerator["ServerProcess"]:
        """Start it on the sandbox, or on an upstream that follows the script; the key is its own for the upstream.

        `files` is its limit of file descriptors, the soft one or both.
        """
        async with contextlib.AsyncExitStack() as stack:
            if script is not None:
                scripted = await stack.enter_async_context(ScriptedHttpServer(script).running())
                settings["upstream"] = scripted.base_url
            variables = (environment or {}) | ({"TWELVELABS_API_KEY": key} if key else {})
            limit = [] if files is None else _limited(files, is_soft=is_soft)
            process = await start(program, [*limit, *_with(variables)], **settings)
            stack.push_async_callback(_end, process)
            log: list[str] = []
            target, metrics_urls = await _addresses(process, log)
            reading = asyncio.create_task(_read(process, log))
            stack.callback(reading.cancel)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))
            stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
            yield cls(process, target, metrics_urls, channel, stub, log, reading)  # type: ignore[arg-type]

    def peak_memory(self) -> int:
        """The maximum resident memory so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) << 10  # type: ignore[union-attr]

    def open_spools(self) -> int:
        """The number of open deleted files that are not empty."""
        return len(self.spooled())

    def spooled(self) -> list[int]:
        """The sizes of the open deleted files that are not empty: one may be the test's own standard output."""
        sizes = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if "(deleted)" in str(link.readlink()):
                    sizes.append(link.stat().st_size)
        return [size for size in sizes if size]

    def metrics(self, worker: int = 0) -> str:
        with urllib.request.urlopen(self.metrics_urls[worker], timeout=60) as page:
            text: str = page.read().decode()
            return text

    def worker(self, index: int) -> int:
        """The process id of a worker, the latest."""
        found = [re.search(rf"a worker starts worker={index} pid=(\d+)\b", line) for line in self.log]
        return int([match for match in found if match][-1][1])

    def is_serving(self, index: int) -> bool:
        """Whether the latest process of a worker has logged that it serves."""
        said = [line for line in self.log if re.search(rf"\bworker={index}\b", line)]
        said = [line for line in said if "a worker starts" in line or "metrics=http" in line]
        return bool(said) and "metrics=http" in said[-1]

    def kill(self) -> None:
        self.process.kill()

    async def terminate(self) -> int:
        """Send SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self, seconds: float = 60) -> int:
        """Wait until it has ended and its log is complete; the exit code."""
        code = await asyncio.wait_for(self.process.wait(), seconds)
        await asyncio.wait([self.reading], timeout=20)  # longer only while another process has its stderr
        return code


def _limited(files: int, *, is_soft: bool) -> list[str]:
    """A command prefix that limits the number of file descriptors."""
    return ["sh", "-c", f'ulimit {"-S " if is_soft else ""}-n {files} && exec "$@"', "sh"]


def _with(variables: dict[str, str]) -> list[str]:
    """A command prefix that sets these environment variables."""
    return ["env", *(f"{name}={value}" for name, value in variables.items())]


async def start(
    program: Sequence[str] = SERVER, prefix: Sequence[str] = (), **settings: Any
) -> asyncio.subprocess.Process:
    chosen = {"upstream": "sandbox", "listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"} | EVERYWHERE | settings
    flags = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [*prefix, sys.executable, *program, "serve", *flags]
    return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, start_new_session=True)


async def _addresses(process: asyncio.subprocess.Process, log: list[str]) -> tuple[str, list[str]]:
    assert process.stderr is not None
    while line := (await asyncio.wait_for(process.stderr.readline(), 120)).decode():
        log.append(line)
        if re.search(r"\bworker\b", line) or not re.search(r"\bserving\b", line):
            continue  # any of several workers serves; the supervisor logs when all do
        if found := re.search(r"127\.0\.0\.1:\d+(?=[\" \n])", line):
            return found.group(), re.findall(r"http://[^\s'\"]+/metrics", line)
    raise AssertionError("".join(log))


async def _read(process: asyncio.subprocess.Process, log: list[str]) -> None:
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        log.append(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await asyncio.wait_for(process.communicate(), 60)  # until its workers, which write there as well, have ended
