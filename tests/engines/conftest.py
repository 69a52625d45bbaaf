"""Two servers on an upstream that counts, and texts of which two cannot be embedded."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.engines.scene import Scene, texts
from tests.engines.upstream import EnginesUpstream
from tests.system.server import Server

TEXTS = 2000


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    """Return the scene of a test, which begins without an output."""
    inputs = texts(TEXTS)
    pq.write_table(pa.table({"key": list(inputs), "text": list(inputs.values())}), tmp_path / "texts.parquet")
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(EnginesUpstream.running())
        servers = [
            await stack.enter_async_context(Server.running(tmp_path / f"server-{number}.log", upstream.base_url))
            for number in range(2)
        ]
        yield Scene(tmp_path, inputs, upstream, servers)
