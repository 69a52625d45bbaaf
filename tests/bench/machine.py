"""What the figures were measured on."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

_PACKAGES = ("grpcio", "protobuf", "uvloop", "aiohttp", "httpx", "pysimdjson", "numpy", "orjson")


def description() -> str:
    """Processor, cores, Python and the packages that matter."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    processor = model[1] if model else platform.machine()
    return f"{processor}, {cores} cores; Linux {platform.release()}, Python {platform.python_version()}, {versions}"
