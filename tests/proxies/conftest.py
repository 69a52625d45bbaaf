"""Fixtures: the shared servers, which run in one event loop for all tests."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.proxies.proxy import Proxy
from tests.proxies.stage import NAMES, Stage
from tests.support.process import ServerProcess
from tests.support.upstreams import ScriptedHttpServer, Visit, answer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of this package in the event loop of the shared servers."""
    for item in items:
        if item.path.parent == Path(__file__).parent and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    """Return the shared servers."""
    async with Stage.running(tmp_path_factory.mktemp("proxies")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def silent_replica() -> AsyncGenerator[ServerProcess]:
    """Return a server whose own upstream never answers, for calls that end while they wait.

    The shared upstream might see the request of such a call only after its test.
    """
    async with ServerProcess.running(Visit.gone) as server:
        yield server


@pytest.fixture(params=NAMES)
def proxy(stage: Stage, request: pytest.FixtureRequest) -> Proxy:
    """Return each of the shared proxies."""
    return stage.proxies[request.param]


@pytest.fixture
def envoy(stage: Stage) -> Proxy:
    """Return the shared Envoy."""
    return stage.proxies["envoy"]


@pytest.fixture
def upstream(stage: Stage) -> Generator[ScriptedHttpServer]:
    """Return the upstream of the replicas. It answers every request with a text embedding unless the test says else."""
    stage.upstream.script = answer
    stage.upstream.visits.clear()
    yield stage.upstream
    stage.upstream.visits.clear()  # they hold the bodies of the requests
