"""`embedwire batch` as a process: it is started, killed and observed from outside."""

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from tests.system.server import memory_of

MOST_SECONDS = 1500  # of a run
TIMEOUT = 900  # of a call, in seconds: on a busy machine no call fails because of its deadline


@dataclasses.dataclass
class Command:
    """A running command. Its output goes to a file."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, words: Sequence[str], log: Path) -> AsyncGenerator["Command"]:
        """Start a Python program; it is killed at the end.

        Args:
            words: arguments of Python.
            log: file to which its output is appended.
        """
        with log.open("ab") as file:
            process = subprocess.Popen(  # noqa: ASYNC220 - uvloop's own forks, which gRPC does not support
                [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        try:
            yield cls(process, log)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def ended(self) -> int:
        """Wait for the end of the process; return its exit code."""
        return await asyncio.to_thread(self.process.wait, MOST_SECONDS)

    async def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return memory_of(self.process.pid)


def batch(sources: Sequence[Path], output: Path, target: str, **options: Any) -> list[str]:
    """Return the arguments of Python for `embedwire batch`."""
    chosen = {"output": output, "target": target, "timeout": TIMEOUT} | options
    flags = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["-m", "embedwire", "batch", *map(str, sources), *flags]
