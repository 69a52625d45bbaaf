"""A server whose standard error is not read: its addresses are found from its listening ports."""

import asyncio
import contextlib
import dataclasses
import http.client
import os
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2_grpc

CLOSED = "closed"
_LISTENING = "0A"


@dataclasses.dataclass
class Unlogged:
    """A running server of one process, ready for calls."""

    process: "subprocess.Popen[bytes]"
    target: str
    metrics_url: str
    channel: grpc.aio.Channel

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, stderr: Any, **settings: Any) -> AsyncGenerator["Unlogged"]:
        """Start it with this standard error, or with none if that is `CLOSED`."""
        chosen = {"upstream": "sandbox", "listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"} | settings
        flags = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "embedwire_server", "serve", *flags]
        if stderr == CLOSED:
            command, stderr = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command], None
        process = subprocess.Popen(command, stderr=stderr)  # noqa: ASYNC220 - uvloop's fork is incompatible with gRPC
        try:
            target, metrics_url = await asyncio.wait_for(_addresses(process), 30)
            async with grpc.aio.insecure_channel(target) as channel:
                await asyncio.wait_for(channel.channel_ready(), 30)
                yield cls(process, target, metrics_url, channel)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)

    @property
    def stub(self) -> Any:
        return embedding_pb2_grpc.EmbeddingServiceStub(self.channel)

    async def dropped(self) -> int:
        """The number of dropped lines of its log."""
        page = await asyncio.to_thread(_page, self.metrics_url)
        return int(float(re.search(r"^embedwire_log_lines_dropped_total (\S+)$", page, re.MULTILINE)[1]))  # type: ignore[index]

    async def has_dropped(self, lines: int) -> None:
        """Wait until that many lines are dropped: a thread counts them shortly after the call."""
        async with asyncio.timeout(30):
            while await self.dropped() < lines:
                await asyncio.sleep(0.02)


@contextlib.contextmanager
def output(kind: str) -> Iterator[Any]:
    """A standard error that cannot be written, for one of several reasons."""
    with contextlib.ExitStack() as stack:
        if kind == "closed":
            yield CLOSED
        elif kind == "full-disk":
            yield stack.enter_context(open("/dev/full", "wb"))  # noqa: PTH123 - a device
        else:
            reader, writer = os.pipe()
            stack.callback(os.close, writer)
            if kind == "reader-gone":
                os.close(reader)
            else:
                stack.callback(os.close, reader)
                os.set_blocking(writer, False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(writer, b"\n" * select.PIPE_BUF)
                os.set_blocking(writer, kind == "blocked-reader")
            yield writer


async def _addresses(process: "subprocess.Popen[bytes]") -> tuple[str, str]:
    """The addresses of gRPC and of the metrics, once it listens on both."""
    while process.poll() is None:
        ports = _ports(process.pid)
        urls = {port: f"http://127.0.0.1:{port}/metrics" for port in ports}
        for port, url in urls.items():
            # The sandbox listens as well, without such a path; gRPC does not answer in HTTP/1.1.
            with contextlib.suppress(OSError, http.client.HTTPException):
                if "embedwire_build_info" in await asyncio.to_thread(_page, url):
                    for other in ports - {port}:
                        if await _is_serving(other):
                            return f"127.0.0.1:{other}", url
        await asyncio.sleep(0.05)
    raise AssertionError(f"ended with {process.returncode}")


async def _is_serving(port: int) -> bool:
    """Whether the port is the server's: the server of the self-check at the start has no health service."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await check(health_pb2.HealthCheckRequest(), timeout=1)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


def _ports(pid: int) -> set[int]:
    """The TCP ports that a process listens on."""
    links = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.append(str(link.readlink()))
    found = set()
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTENING and f"socket:[{fields[9]}]" in links:
            found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as page:
        text: str = page.read().decode(errors="replace")
        return text
