"""Description of the machine, and its steal time during a measurement."""

import dataclasses
import importlib.metadata
import os
import platform
import re
import time
from pathlib import Path
from typing import Self

_PACKAGES = ("grpcio", "protobuf", "uvloop", "httptools", "aiohttp", "httpx", "pysimdjson", "numpy", "orjson")
_STEAL = 7  # index of the steal time in the line of a core, proc_stat(5)
_TIMES = 8  # guest times follow and are included in user and nice


def description() -> str:
    """Return processor, cores, Python and the relevant packages."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{name} {version}" for name in _PACKAGES if (version := _version(name)))
    processor = model[1] if model else platform.machine()
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores; {system}, {versions}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class CpuTimes:
    """The times of each core since boot and the stolen part of them, in ticks."""

    cores: tuple[tuple[int, int], ...]

    @classmethod
    def now(cls) -> Self:
        """Read the current times."""
        return cls.of(Path("/proc/stat").read_text())

    @classmethod
    def of(cls, stat: str) -> Self:
        """Parse the text of /proc/stat."""
        lines = [line.split() for line in stat.splitlines() if re.match(r"cpu\d", line)]
        times = [[int(word) for word in words[1 : 1 + _TIMES]] for words in lines]
        return cls(tuple((sum(core), core[_STEAL]) for core in times))

    def steal_since(self, before: Self) -> str:
        """Return the share of each core's time that the hypervisor gave to other guests."""
        shares = []
        for (total, stolen), (total_before, stolen_before) in zip(self.cores, before.cores, strict=True):
            ticks = total - total_before
            shares.append(100 * (stolen - stolen_before) / ticks if ticks else 0.0)
        return "steal " + ", ".join(f"{share:.1f} %" for share in shares) + " of the cores"


class Watch:
    """Reports the elapsed time and the steal time since its creation."""

    def __init__(self) -> None:
        self._began, self._times = time.monotonic(), CpuTimes.now()

    def __str__(self) -> str:
        return f"measured in {time.monotonic() - self._began:.0f} s, {CpuTimes.now().steal_since(self._times)}"
