"""Programs as processes, each pinned to a core, that end with the benchmark."""

import asyncio
import contextlib
import dataclasses
import re
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

MEASURED_CORE, OTHER_CORE = "0", "1"
BOTH_CORES = "0,1"
Command = Sequence[str | Path]
_PORTS = iter(range(20_000, 32_000))  # below the ephemeral ports
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: all threads of a process, in nanoseconds


@dataclasses.dataclass(frozen=True)
class Running:
    """A running program."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        """Return its CPU time in seconds."""
        return time.clock_gettime((~self.pid << 3) | _CPU_CLOCK)  # as by clock_getcpuclockid(3)

    def memory(self) -> int:
        """Return its resident bytes."""
        return self._status("VmRSS")

    def anonymous(self) -> int:
        """Return its resident bytes without pages of files."""
        return self._status("RssAnon")

    def peak(self) -> int:
        """Return the peak of its resident bytes since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    async def written(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until its output matches."""
        async with asyncio.timeout(seconds):
            while (found := re.search(pattern, self.log.read_text())) is None:
                self.check()
                await asyncio.sleep(0.01)
        return found

    def check(self) -> None:
        """Raise if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.log} ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]


@contextlib.asynccontextmanager
async def running(command: Command, log: Path, cores: str = MEASURED_CORE) -> AsyncGenerator[Running]:
    """Start a program with its output in a file; end it on exit."""
    pinned = ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", cores, *command]
    with log.open("wb") as file:
        process = subprocess.Popen(pinned, stdout=file, stderr=file)  # noqa: ASYNC220 - uvloop's own forks, which gRPC does not support
    try:
        yield Running(process, log)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


def free_port() -> int:
    """Return a port of this machine on which no process listens."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return this many consecutive ones."""
    found: list[int] = []
    for port in _PORTS:
        found = [*found, port] if _is_free(port) else []
        if len(found) == count:
            return found
    raise RuntimeError("no free ports below 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


async def listening(port: int, program: Running, seconds: float = 120) -> None:
    """Wait until a port accepts connections."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        program.check()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.005)
    raise TimeoutError(f"{program.log}: port {port} does not answer")
