"""The server as a process, observed from outside."""

import asyncio
import contextlib
import dataclasses
import re
import signal
import statistics
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

MIB = 1 << 20
SERVICE = "embedwire.v1.EmbeddingService"
_METRICS = re.compile(r"http://[^\s\"]+/metrics")
_TARGET = re.compile(r'target"?[=:] ?"?([^\s",]+)')
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclasses.dataclass
class Server:
    """A running server. Its log is a file, so that reading it costs the harness nothing."""

    process: "subprocess.Popen[bytes]"
    target: str
    metrics_url: str
    log: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, log: Path, upstream: str, key: str = "", **flags: Any) -> AsyncGenerator["Server"]:
        """Start it and wait until it serves.

        Args:
            log: where its log goes.
            upstream: base URL.
            key: the upstream's API key, for its environment.
            flags: its other flags.
        """
        chosen = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "upstream": upstream}
        chosen |= {"log_format": "json"} | flags
        words = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        environment = ["env", f"TWELVELABS_API_KEY={key}"] if key else []
        command = [*environment, sys.executable, "-m", "tests.system.watched", "serve", *words]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stderr=file)  # noqa: ASYNC220 - uvloop's own forks, which gRPC does not support
        try:
            async with asyncio.timeout(60):
                metrics = await _until(lambda: _METRICS.search(log.read_text()), process)
            yield cls(process, _TARGET.search(log.read_text())[1], metrics[0], log)  # type: ignore[index]
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def terminate(self, seconds: float) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, seconds)

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return memory_of(self.process.pid)

    def peak_memory(self) -> int:
        return memory_of(self.process.pid, "VmHWM")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def tasks(self) -> int:
        """Return the number of tasks of its event loop."""
        logged = self._logged_tasks()
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(10):
            await _until(lambda: len(self._logged_tasks()) > len(logged), self.process)
        return int(self._logged_tasks()[-1])

    async def metrics(self) -> str:
        return await asyncio.to_thread(_page, self.metrics_url)

    async def sums(self, name: str, by: str = "") -> Counter[str]:
        """Return the samples of a metric, summed by one label; of calls only those of EmbeddingService."""
        sums: Counter[str] = Counter()
        for sample, text, value in _SAMPLE.findall(await self.metrics()):
            labels = dict(_LABEL.findall(text))
            if sample == name and labels.get("grpc_service", SERVICE) == SERVICE:
                sums[labels.get(by, "")] += int(float(value))
        return +sums

    def _logged_tasks(self) -> list[str]:
        return re.findall(r"watched: (\d+) tasks", self.log.read_text())


def memory_of(process: int, kind: str = "VmRSS") -> int:
    """Return the memory of a process in bytes, the resident one or its peak; 0 if it has ended."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) << 10 if found else 0


def growth(memory: Sequence[int]) -> float:
    """Return the growth of memory in MiB: the median of the last third of the samples less that of the one before."""
    third = len(memory) // 3
    return (statistics.median(memory[-third:]) - statistics.median(memory[-2 * third : -third])) / MIB


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as page:
        text: str = page.read().decode()
        return text


async def _until(found: Callable[[], Any], process: "subprocess.Popen[bytes]") -> Any:
    while not (what := found()):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        await asyncio.sleep(0.02)
    return what
