"""Fixtures: real Redis servers."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.support.redis import RedisServer


@pytest.fixture
async def server() -> AsyncGenerator[RedisServer]:
    """Return an empty Redis server."""
    async with RedisServer.running() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_port() -> AsyncGenerator[int]:
    """Return the port of a Redis server that tests with simulated time share."""
    async with RedisServer.running() as running:
        yield running.port
