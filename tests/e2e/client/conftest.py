"""Fixtures of the client's tests."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.client.callers import Connect, InTheLoop, InThreads, connecting
from tests.e2e.client.services import Recorder


@pytest.fixture(params=[InThreads, InTheLoop], ids=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Connect either client to a target; tests run for both."""
    return connecting(request.param)


@pytest.fixture
def served_by_thread() -> Iterator[str]:
    """A server in an event loop of its own thread, for tests with no loop or several."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = Recorder().serving()
    yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(10)
    asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
