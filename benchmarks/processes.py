"""Programs in processes of their own, each pinned to a core, that end when the benchmark does."""

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
_PORTS = iter(range(20_000, 32_000))  # below those that the system hands out to clients
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: of all threads of a process, in nanoseconds


@dataclasses.dataclass(frozen=True)
class Running:
    """A program that runs."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        return time.clock_gettime((~self.pid << 3) | _CPU_CLOCK)  # as clock_getcpuclockid(3) makes it of a process

    def memory(self) -> int:
        """Resident bytes now."""
        return self._status("VmRSS")

    def anonymous(self) -> int:
        """Those of them that are not pages of files."""
        return self._status("RssAnon")

    def peak(self) -> int:
        """The most resident bytes since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    async def written(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until it has written this."""
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
    """Start a program whose output goes into a file; end it in the end."""
    pinned = ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", cores, *command]
    with log.open("wb") as file:
        process = subprocess.Popen(pinned, stdout=file, stderr=file)  # noqa: ASYNC220 - uvloop's own forks, which gRPC cannot bear
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
    """A port of this machine that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many of them in a row."""
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
    """Wait until a port answers."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        program.check()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.005)
    raise TimeoutError(f"{program.log}: port {port} does not answer")
