"""Two servers on an upstream that counts, and texts of which two cannot be embedded."""

import contextlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.engines.scene import EXAMPLES, Scene, texts
from tests.engines.upstream import EnginesUpstream
from tests.system.server import Server

TEXTS = 2000


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    """Return the scene of a test, which begins without an output."""
    for example in (EXAMPLES / "engines").glob("*.py"):
        shutil.copy(example, tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(EnginesUpstream.running())
        servers = [
            await stack.enter_async_context(Server.running(tmp_path / f"server-{number}.log", upstream.base_url))
            for number in range(2)
        ]
        found = Scene(tmp_path, {}, upstream, servers)
        found.write_texts(texts(TEXTS))
        yield found
