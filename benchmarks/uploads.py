"""The load of uploads: audio files, sent in chunks."""

import contextlib
from collections.abc import AsyncGenerator

from benchmarks import requests
from benchmarks.gateway import DEFAULT, Start
from benchmarks.stage import UPLOAD, Stage
from benchmarks.subjects import Embedding, embedding

FILE_BYTES = 1_000_000
CONNECTIONS = 8


@contextlib.asynccontextmanager
async def uploads(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of uploads of 1 MB, eight at a time."""
    messages = [*requests.upload(requests.sound(FILE_BYTES))]
    async with stage.gateway("audio-short", start) as server:
        async with server.stub() as stub:
            events = [event async for event in stub.CreateEmbeddingFromUpload(iter(messages), timeout=60)]
        requests.check_events(events, 1)
        load = stage.load(server.target, UPLOAD, requests.framed(*messages), CONNECTIONS, 1)
        yield embedding(server, load, len(requests.framed(*events)))
