"""Fixtures of the connection tests, which run on both event loops: uvloop, and asyncio's own, which Windows uses."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.e2e.connect.peers import Authority


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
