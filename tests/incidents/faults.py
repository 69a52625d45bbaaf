"""Faults: each is a context in which something goes wrong."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_sandbox import Fault
from tests.incidents.scene import TOKENS, Scene
from tests.support.messages import request, upload_input
from tests.support.pki import bearer
from tests.system.mutations import GOOD, disturbed
from tests.system.server import SERVICE

_ALWAYS = None
_METADATA = bearer(TOKENS[0])


@contextlib.asynccontextmanager
async def nothing(_: Scene) -> AsyncGenerator[None]:
    """Let normal traffic continue."""
    yield


@contextlib.asynccontextmanager
async def too_many_for_the_plan(scene: Scene) -> AsyncGenerator[None]:
    """Make more calls than the plan of the upstream allows, with deadlines of the length of its window."""
    async with scene.traffic(callers=8, pause=0.05, deadline=2.0):
        yield


@contextlib.asynccontextmanager
async def upstream_stopped(scene: Scene) -> AsyncGenerator[None]:
    """Refuse connections."""
    await scene.account.sandbox.stop()
    yield
    await scene.account.start()


@contextlib.asynccontextmanager
async def upstream_errors(scene: Scene) -> AsyncGenerator[None]:
    """Answer with 503."""
    scene.account.sandbox.faults.add(Fault("status", status=503, times=_ALWAYS))
    yield
    scene.account.sandbox.faults.clear()


@contextlib.asynccontextmanager
async def upstream_hangs(scene: Scene) -> AsyncGenerator[None]:
    """Accept requests, and answer after all deadlines."""
    scene.account.sandbox.faults.add(Fault("delay", delay_sec=3600, times=_ALWAYS))
    yield
    scene.account.sandbox.faults.clear()


@contextlib.asynccontextmanager
async def key_revoked(scene: Scene) -> AsyncGenerator[None]:
    """Accept another key only."""
    await scene.account.restart(api_key="another-key")
    yield
    await scene.account.restart()


@contextlib.asynccontextmanager
async def too_many_callers(scene: Scene) -> AsyncGenerator[None]:
    """Make more calls at the same time than there are slots and places in the queue."""
    async with scene.traffic(callers=12, pause=0.1):
        yield


@contextlib.asynccontextmanager
async def stalled_uploads(scene: Scene) -> AsyncGenerator[None]:
    """Begin uploads, and send nothing more."""

    async def upload() -> grpc.StatusCode:
        is_over = asyncio.Event()
        call = scene.server.stub.CreateEmbeddingFromUpload(_only_first(is_over), timeout=30, metadata=_METADATA)
        try:
            return await call.code()
        finally:
            is_over.set()

    async with scene.repeated([upload] * 6, pause=0.1):
        yield


async def _only_first(is_over: asyncio.Event) -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
    yield pb.CreateEmbeddingFromUploadRequest(request=request(upload_input("image")))
    await is_over.wait()


@contextlib.asynccontextmanager
async def hostile_requests(scene: Scene) -> AsyncGenerator[None]:
    """Send broken messages, invalid requests and unknown tokens."""
    rng = random.Random(7)

    async def broken() -> grpc.StatusCode:
        return await _raw(scene, disturbed(b"\xff" + GOOD["CreateEmbedding"][0].SerializeToString(), rng))

    async def invalid() -> grpc.StatusCode:
        wrong = pb.CreateEmbeddingUnaryRequest(model_name="no such model")
        return await scene.server.stub.CreateEmbeddingUnary(wrong, timeout=5, metadata=_METADATA).code()

    async def unknown_token() -> grpc.StatusCode:
        asked = pb.CreateEmbeddingUnaryRequest()
        return await scene.server.stub.CreateEmbeddingUnary(asked, timeout=5, metadata=bearer("guessed")).code()

    async with scene.repeated([broken, broken, invalid, invalid, unknown_token, unknown_token], pause=0.05):
        yield


async def _raw(scene: Scene, content: bytes) -> grpc.StatusCode:
    """Send these bytes as a request."""
    call: Any = scene.server.channel.unary_stream(f"/{SERVICE}/CreateEmbedding")
    found: grpc.StatusCode = await call(content, timeout=5, metadata=_METADATA).code()
    return found


@contextlib.asynccontextmanager
async def broken_configuration(scene: Scene) -> AsyncGenerator[None]:
    """Replace the configuration file with one that is not valid."""
    text = scene.configuration.read_text()
    scene.configuration.write_text(text + "[concurrency]\nqueue_per_modality = -1\n")
    yield
    scene.configuration.write_text(text)


@contextlib.asynccontextmanager
async def server_stopped(scene: Scene) -> AsyncGenerator[None]:
    """Stop the process, so that it keeps its ports and answers nothing."""
    scene.server.process.send_signal(signal.SIGSTOP)
    yield
    scene.server.process.send_signal(signal.SIGCONT)
