"""An upstream in a process of its own, so that the load of the callers does not delay the times that it records.

python -m tests.system.counting_upstream     prints its URL; each line of its standard input is answered by its journal
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator

import uvloop

from tests.system.answers import slow
from tests.system.journal import Journal
from tests.system.upstream import Upstream
from tests.system.watched import watch_parent

SECONDS = 0.02  # to an answer
_MOST_BYTES = 64 << 20  # of a journal


class CountingUpstream:
    """The running process."""

    def __init__(self, process: asyncio.subprocess.Process, base_url: str) -> None:
        self._process = process
        self.base_url = base_url

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls) -> AsyncGenerator["CountingUpstream"]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.system.counting_upstream",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=_MOST_BYTES,
        )
        try:
            yield cls(process, (await _line(process)).decode().strip())
        finally:
            process.kill()
            await process.wait()

    async def journal(self) -> Journal:
        """Return the requests so far, with the time of arrival of each."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        journal = Journal()
        for at, name in json.loads(await _line(self._process)):
            journal.add(at, 0, name, "text")
        return journal


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await asyncio.wait_for(process.stdout.readline(), 60)


async def _serve() -> None:
    async with Upstream(slow(SECONDS)).running() as upstream:
        print(upstream.base_url, flush=True)  # noqa: T201 - for the process that started this one
        while await asyncio.to_thread(sys.stdin.readline):
            lines = [(line.at, line.input) for line in upstream.journal.lines]
            print(json.dumps(lines), flush=True)  # noqa: T201


if __name__ == "__main__":
    watch_parent()
    uvloop.run(_serve())
