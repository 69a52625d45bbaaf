"""Fixtures: real Redis servers."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.redis import RedisServer


@pytest.fixture
async def server() -> AsyncGenerator[RedisServer]:
    """Return an empty Redis server."""
    async with RedisServer.running() as running:
        yield running
