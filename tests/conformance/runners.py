"""The runner of a language: a process that reads jobs and writes outcomes, one per line."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncGenerator
from typing import IO, Any

from tests.conformance.languages import Language

_LONGEST_LINE = 1 << 28
_BUILD_SECONDS = 600
_OUTPUT_CHARACTERS = 300  # of the last output of a runner that failed


class RunnerError(Exception):
    """The runner is missing, has ended or does not answer; the message is shown in the report."""


class Runner:
    """A running runner, started with its first job and restarted after a failure."""

    def __init__(self, language: Language, said: IO[bytes]) -> None:
        self._language = language
        self._process: asyncio.subprocess.Process | None = None
        self._said = said

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, language: Language) -> AsyncGenerator["Runner"]:
        """Build the runner.

        Raises:
            RunnerError: the toolchain is missing, or it fails.
        """
        _check(language)
        if language.build:
            await _build(language)
        with tempfile.TemporaryFile() as said:
            runner = cls(language, said)
            try:
                yield runner
            finally:
                await runner._end()

    async def outcome(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Run one job.

        Raises:
            RunnerError: there is no outcome within that time.
        """
        if self._process is None:
            await self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            async with asyncio.timeout(seconds):
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
            found = json.loads(line)
        except TimeoutError:
            await self._end()
            raise RunnerError(f"no outcome within {seconds:g} s{self._last_words()}") from None
        except (ConnectionError, ValueError):
            await self._end()
            raise RunnerError(f"the runner ended or wrote no JSON{self._last_words()}") from None
        if not isinstance(found, dict):
            raise RunnerError("the outcome is no object")
        return found

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._language.command,
                cwd=self._language.folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._said,
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise RunnerError(f"{' '.join(self._language.command)}: {error.strerror}") from None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()

    def _last_words(self) -> str:
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip()
        return f": {words[-_OUTPUT_CHARACTERS:]}" if words else ""


def _check(language: Language) -> None:
    if not language.folder.is_dir():
        raise RunnerError(f"{language.folder} does not exist")
    needed = [*language.build[:1], *language.command[:1]]
    for program in needed:
        is_built = language.build and program == needed[-1] and "/" in program
        if not is_built and shutil.which(program) is None and not (language.folder / program).exists():
            raise RunnerError(f"{program} is not installed")


async def _build(language: Language) -> None:
    process = await asyncio.create_subprocess_exec(
        *language.build, cwd=language.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _BUILD_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RunnerError(f"{' '.join(language.build)}: {said.decode(errors='replace').strip()[-_OUTPUT_CHARACTERS:]}")
