"""A bash that keeps its state between the commands of a page."""

import asyncio
import contextlib
import os
import re
import shlex
import signal
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

_SECONDS = 240.0  # pip installs a page's packages in this time on a slow machine
_ENDED = "end-of-command"
_READY = re.compile(r"\bserving\b.*127\.0\.0\.1:\d+|^http://", re.MULTILINE)


class Shell:
    """A bash in a process group of its own. The files of its commands are in `files`."""

    def __init__(self, process: asyncio.subprocess.Process, files: Path) -> None:
        self._process = process
        self._files = files
        self._count = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, folder: Path, files: Path, variables: Mapping[str, str]) -> AsyncGenerator["Shell"]:
        """Start it in a folder, with environment variables. At the end, its background processes are ended as well."""
        process = await asyncio.create_subprocess_exec(
            *("env", *(f"{name}={value}" for name, value in variables.items()), "bash", "--noprofile", "--norc"),
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 24,
        )
        try:
            yield cls(process, files)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()

    async def run(self, command: str) -> tuple[str, int]:
        """Run a command; return what it prints, and its exit code.

        Raises:
            TimeoutError: it did not end in time.
            asyncio.IncompleteReadError: it ended the shell.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        file = self._files / f"command-{self._count}.sh"
        file.write_text(command + "\n")
        line = f". {shlex.quote(str(file))} < /dev/null; printf '\\n{_ENDED} %s\\n' $?\n"
        self._process.stdin.write(line.encode())
        async with asyncio.timeout(_SECONDS):
            printed = await self._process.stdout.readuntil(f"\n{_ENDED} ".encode())
            code = await self._process.stdout.readline()
        return printed.decode().removesuffix(f"\n{_ENDED} "), int(code)

    async def start(self, command: str) -> str:
        """Start a server in the background, and wait until it is ready; return what it has printed.

        Raises:
            TimeoutError: it did not become ready.
        """
        log = self._files / f"background-{self._count}.log"
        log.touch()
        await self.run(f"{{ {command.removesuffix('&')}; }} > {shlex.quote(str(log))} 2>&1 &")
        try:
            async with asyncio.timeout(60):
                while not _READY.search(log.read_text()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"{command} is not ready: {log.read_text()}") from None
        return log.read_text()
