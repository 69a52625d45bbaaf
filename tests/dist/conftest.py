"""Fixtures: the files of build/dist, which `make dist` writes."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from embedwire_server import __version__

DIST = Path(__file__).parents[2] / "build/dist"
Run = Callable[..., Awaitable[str]]


@pytest.fixture(scope="session")
def dist() -> Path:
    """Return the folder of the release files."""
    assert (DIST / "SHA256SUMS").exists(), "build/dist is missing: run `make dist`"
    return DIST


@pytest.fixture(scope="session")
def version() -> str:
    return __version__


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an empty folder, and return its output; it must succeed.

    In a thread, because the server that it calls runs in this event loop.
    """

    async def execute(*command: object, **environment: str) -> str:
        variables = os.environ | environment  # noqa: TID251 - of the tools
        words = [str(word) for word in command]
        done = await asyncio.to_thread(
            subprocess.run, words, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=500
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return execute
