"""Fixtures: a receiver, and servers in this process that export to it."""

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from tests.support.otlp import Receiver, variables
from tests.support.serving import Served, serving
from tests.support.upstreams import Script, ScriptedHttpServer

Traced = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """Return a running receiver."""
    async with Receiver().running() as running:
        yield running


@pytest.fixture
def traced(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Traced:
    """Start a server that exports to the receiver: on the sandbox, or on an upstream that follows a script."""

    @contextlib.asynccontextmanager
    async def start(script: Script | None = None, environment: Any = (), **settings: Any) -> AsyncGenerator[Served]:
        for name, value in (variables(receiver.endpoint) | dict(environment)).items():
            monkeypatch.setenv(name, value)
        async with contextlib.AsyncExitStack() as stack:
            if script is not None:
                upstream = await stack.enter_async_context(ScriptedHttpServer(script).running())
                settings["upstream"] = upstream.base_url
            yield await stack.enter_async_context(serving(**settings))

    return start
