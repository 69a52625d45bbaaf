"""An upstream in a process of its own, whose vectors depend on the text, and which counts the texts that are paid for.

python -m tests.engines.upstream     prints its URL; each line of its standard input is answered by its counts
"""

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator

import uvloop

from tests.system.answers import http, refusal
from tests.system.upstream import Answer, Asked, Upstream
from tests.system.watched import watch_parent

REJECTED = "rejected"  # texts that begin so are not accepted
EXHAUSTED = "exhausted"  # for texts that begin so, the account has no credit left
SECONDS = 0.1  # to an answer
DIMENSIONS = 512
_MOST_BYTES = 16 << 20  # of a line of counts


def expected(text: str) -> list[float]:
    """Return the vector of a text; its values are exact in float32."""
    return [byte / 256 for byte in hashlib.sha256(text.encode()).digest()] * (DIMENSIONS // 32)


class EnginesUpstream:
    """The running process."""

    def __init__(self, process: asyncio.subprocess.Process, base_url: str) -> None:
        self._process = process
        self._lock = asyncio.Lock()
        self.base_url = base_url

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls) -> AsyncGenerator["EnginesUpstream"]:
        command = [sys.executable, "-m", "tests.engines.upstream"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=_MOST_BYTES
        )
        try:
            yield cls(process, (await _line(process)).decode().strip())
        finally:
            process.kill()
            await process.wait()

    async def paid(self) -> Counter[str]:
        """Return how often each text was accepted so far; the upstream bills each of them, read or not."""
        assert self._process.stdin is not None
        async with self._lock:
            self._process.stdin.write(b"\n")
            return Counter(json.loads(await _line(self._process)))


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await asyncio.wait_for(process.stdout.readline(), 60)


def _answer(asked: Asked, paid: Counter[str]) -> Answer:
    text = asked.field("text")
    if text.startswith(REJECTED):
        return refusal(400, code="parameter_invalid", message="The text is not accepted.")
    if text.startswith(EXHAUSTED):
        return refusal(400, code="usage_limit_exceeded", message="No credit is left.")
    paid[text] += 1
    segment = {"float": expected(text)}
    body = json.dumps({"model_name": "marengo3.0", "text_embedding": {"segments": [segment]}})
    return Answer("200", [SECONDS, http(200, body.encode())])


async def _serve() -> None:
    paid: Counter[str] = Counter()
    async with Upstream(lambda asked: _answer(asked, paid)).running() as upstream:
        print(upstream.base_url, flush=True)  # noqa: T201 - for the process that started this one
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(paid), flush=True)  # noqa: T201


if __name__ == "__main__":
    watch_parent()
    uvloop.run(_serve())
