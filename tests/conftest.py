"""Fixtures: real servers on port 0."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import hypothesis
import pytest
from serving import Scripted, Serve, Served, serving
from upstreams import Script, ScriptedUpstream

# The same examples every time, however slow the machine is.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWELVELABS_API_KEY", raising=False)
    monkeypatch.delenv("TWELVELABS_BASE_URL", raising=False)


@pytest.fixture
def serve() -> Serve:
    """Start a server with these settings; by default on the sandbox."""
    return serving


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    """A server on the sandbox."""
    async with serving() as running:
        yield running


@pytest.fixture
def scripted() -> Scripted:
    """Start a server whose upstream follows a script."""

    @contextlib.asynccontextmanager
    async def start(script: Script, **settings: Any) -> AsyncGenerator[tuple[Served, ScriptedUpstream]]:
        async with (
            ScriptedUpstream(script).running() as upstream,
            serving(**({"upstream": upstream.base_url} | settings)) as running,
        ):
            yield running, upstream

    return start
