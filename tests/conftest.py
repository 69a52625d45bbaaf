"""Fixtures: real servers on port 0."""

import contextlib
import os
import re
import signal
from collections.abc import AsyncGenerator, Generator
from typing import Any

import hypothesis
import pytest

from tests.support.serving import EVERYWHERE, Scripted, Serve, Served, serving
from tests.support.upstreams import Script, ScriptedHttpServer

# The same examples on every run, without a time limit.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")

_CHANGES_BEHAVIOUR = re.compile(
    r"TWELVELABS_.*|EMBEDWIRE_.*|GRPC_.*|OTEL_.*|SSL_CERT_(FILE|DIR)|(FORCE|NO)_COLOR|COLUMNS|LINES"
    r"|(http|https|all|no|grpc|no_grpc)_proxy|(HTTP|HTTPS|ALL|NO)_PROXY"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server-grpc-public-api-only", action="store_true", help="all servers use grpcio's public API only"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell without job control starts background commands with SIGINT ignored, and children inherit that, so that
    # tests of Ctrl-C would fail.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("server_grpc_public_api_only"):
        EVERYWHERE["server_grpc_public_api_only"] = True


@pytest.fixture(autouse=True, scope="session")
def _plain_environment() -> Generator[None]:
    """Remove environment variables that change the server, clients and output, also in other processes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in os.environ:  # noqa: TID251 - the tests' own environment
            if _CHANGES_BEHAVIOUR.fullmatch(name):
                monkeypatch.delenv(name)
        yield


@pytest.fixture
def serve() -> Serve:
    """Start a server with these settings; by default on the sandbox."""
    return serving


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    """Return a server on the sandbox."""
    async with serving() as running:
        yield running


@pytest.fixture
def scripted() -> Scripted:
    """Start a server on a scripted upstream."""

    @contextlib.asynccontextmanager
    async def start(script: Script, **settings: Any) -> AsyncGenerator[tuple[Served, ScriptedHttpServer]]:
        async with (
            ScriptedHttpServer(script).running() as upstream,
            serving(**({"upstream": upstream.base_url} | settings)) as running,
        ):
            yield running, upstream

    return start
