"""The upstream: a compiled program with a port for each kind of reply."""

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import urllib.request
from collections.abc import AsyncGenerator
from pathlib import Path

from benchmarks import bodies
from benchmarks.processes import OTHER_CORE, Running, free_port, running

SOURCE = Path(__file__).with_name("upstream.c")
WAYS = {
    "text": "text.json",
    "text-late": "text.json,delay=200",
    "audio": "audio.json",
    "audio-short": "short.json",
    "audio-paced": "audio.json,pace=1000",
    "audio-long": "long.json",
    "audio-sink": "short.json,sink=20",
    "openai": "openai.json",
}


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of a port: requests, complete replies, the time of the last byte of the last one, and bytes of files.

    Only the upstream with assets counts those.
    """

    requests: int
    answers: int
    last: int
    received: int = 0


@dataclasses.dataclass(frozen=True)
class Upstream:
    """A running upstream."""

    program: Running
    ports: dict[str, int]

    def url(self, way: str) -> str:
        return f"http://127.0.0.1:{self.ports[way]}"

    async def counts(self, way: str) -> Counts:
        return await asyncio.to_thread(_counts, f"{self.url(way)}/counts")


@contextlib.asynccontextmanager
async def upstream(directory: Path) -> AsyncGenerator[Upstream]:
    """Compile it, write its replies, and run it."""
    binary = directory / "upstream"
    await asyncio.to_thread(_compile, binary)
    await asyncio.to_thread(bodies.write, directory)
    ports = {way: free_port() for way in WAYS}
    words = [f"{ports[way]},{directory}/{answer}" for way, answer in WAYS.items()]
    async with running([binary, *words], directory / "upstream.log", OTHER_CORE) as program:
        await program.written("ready")
        yield Upstream(program, ports)


def _compile(binary: Path) -> None:
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, SOURCE], check=True)


def _counts(url: str) -> Counts:
    with urllib.request.urlopen(url, timeout=10) as page:
        return Counts(**json.load(page))
