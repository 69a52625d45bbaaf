"""What the figures were measured on, and what the machine's other guests took from it meanwhile."""

import dataclasses
import importlib.metadata
import os
import platform
import re
import time
from pathlib import Path
from typing import Self

_PACKAGES = ("grpcio", "protobuf", "uvloop", "httptools", "aiohttp", "httpx", "pysimdjson", "numpy", "orjson")
_STEAL = 7  # the place of the steal time among the times of a core, proc_stat(5)
_TIMES = 8  # those behind it, of guests, are part of the others


def description() -> str:
    """Processor, cores, Python and the packages that matter."""
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
    """The times of each core since the machine started, and how much of them was stolen, in ticks."""

    cores: tuple[tuple[int, int], ...]

    @classmethod
    def now(cls) -> Self:
        """By the kernel."""
        return cls.of(Path("/proc/stat").read_text())

    @classmethod
    def of(cls, stat: str) -> Self:
        """From the text of /proc/stat."""
        lines = [line.split() for line in stat.splitlines() if re.match(r"cpu\d", line)]
        times = [[int(word) for word in words[1 : 1 + _TIMES]] for words in lines]
        return cls(tuple((sum(core), core[_STEAL]) for core in times))

    def steal_since(self, before: Self) -> str:
        """The share of each core's time that the hypervisor gave to others."""
        shares = []
        for (total, stolen), (total_before, stolen_before) in zip(self.cores, before.cores, strict=True):
            ticks = total - total_before
            shares.append(100 * (stolen - stolen_before) / ticks if ticks else 0.0)
        return "steal " + ", ".join(f"{share:.1f} %" for share in shares) + " of the cores"


class Watch:
    """Says how long something took, and how much steal time there was meanwhile."""

    def __init__(self) -> None:
        self._began, self._times = time.monotonic(), CpuTimes.now()

    def __str__(self) -> str:
        return f"measured in {time.monotonic() - self._began:.0f} s, {CpuTimes.now().steal_since(self._times)}"
