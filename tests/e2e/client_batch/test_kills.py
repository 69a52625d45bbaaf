"""Batches whose process is killed: each input is in the output once, and what was answered is not paid again."""

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.client_batch.support import keys, text_of
from tests.support.serving import Scripted, serving, until
from tests.support.upstreams import Visit, reply

_ROOT = Path(__file__).parents[3]
_INPUTS, _WINDOW = 400, 16


@contextlib.asynccontextmanager
async def batch(target: str, folder: Path, kind: str, count: int = 1) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A batch in a process, which is killed at the end of the block."""
    command = [sys.executable, "-m", "tests.programs.killed_batch", target, str(folder), kind, str(count)]
    process = await asyncio.create_subprocess_exec(*command, cwd=_ROOT)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("seed", range(2))
async def test_texts(scripted: Scripted, tmp_path: Path, seed: int) -> None:
    """After SIGKILL at random moments and a resumed run: no key twice, none missing, few requests more than inputs."""
    moments, pauses = random.Random(seed), random.Random(seed)
    asked: Counter[str] = Counter()
    kills = 0

    async def script(visit: Visit) -> None:
        asked[text_of(visit)] += 1
        await asyncio.sleep(pauses.uniform(0, 0.02))
        await visit.answer(reply())

    async with scripted(script) as (served, _):
        for _ in range(4):
            before, more = asked.total(), moments.randrange(1, 60)
            async with batch(served.app.target, tmp_path, "texts", _INPUTS) as process:
                await until(lambda: asked.total() >= before + more or process.returncode is not None, 120)  # noqa: B023
                kills += process.returncode is None
        async with batch(served.app.target, tmp_path, "texts", _INPUTS) as process:
            assert await process.wait() == 0

    assert kills == 4
    assert keys(tmp_path) == sorted(f"key-{number}" for number in range(_INPUTS))
    assert asked.total() <= _INPUTS + kills * _WINDOW
    assert max(asked.values()) <= 1 + kills


async def test_a_task(tmp_path: Path) -> None:
    """After SIGKILL while the upstream works on a task, the next run gets its result and creates no second one."""
    options = SandboxOptions(task_polls=0, task_seconds=4)
    async with Sandbox(options) as sandbox, serving(upstream=sandbox.base_url, api_key="key") as served:
        async with batch(served.app.target, tmp_path, "task"):
            await until(lambda: len(sandbox.tasks) == 1, 120)
            (task,) = sandbox.tasks
            log = tmp_path / "ledger.sqlite-wal"
            await until(lambda: task.id.encode() in log.read_bytes(), 120)
        async with batch(served.app.target, tmp_path, "task") as process:
            assert await process.wait() == 0
        assert len(sandbox.tasks) == 1

    assert set(keys(tmp_path)) == {"sound"}
