"""With tokens, clients use tasks of their own, and those of others with a permission or a key of their own only."""

from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_sandbox import Fault, SandboxOptions
from tests.e2e.embed_v2.support import PROCESSING, file_of, from_source, of_task, outcome, running, stage
from tests.support.media import wav
from tests.support.pki import bearer, sha256
from tests.support.uploads import TASK

SOUND = wav(20)
TOKENS = (
    {"name": "search", "sha256": sha256("s")},
    {"name": "indexer", "sha256": sha256("i")},
    {"name": "admin", "sha256": sha256("a"), "upstream_ids": True},
)
NOBODYS = "64f8d2c7e4a1b37f8a9c5d12"
ASSET = pb.AudioInput(source=pb.MediaSource(asset=pb.AssetSource(id=NOBODYS)))
UNARY = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[pb.Input(audio=of_task(NOBODYS))])


async def test_task_of_another_client() -> None:
    """A task belongs to the token that created it; another token needs the permission."""
    async with running(tokens=TOKENS) as (served, sandbox):
        first = await outcome(from_source(served, file_of(SOUND, **TASK), metadata=bearer("s")))
        asked = of_task(first.result.upstream_task_id)
        polls = sandbox.operations["task_poll"]
        other = await outcome(from_source(served, asked, metadata=bearer("i")))
        polls_of_other = sandbox.operations["task_poll"] - polls
        own = await outcome(from_source(served, asked, metadata=bearer("s")))
        admin = await outcome(from_source(served, asked, metadata=bearer("a")))

    assert (other.refused.code, other.refused.info.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_DENIED",
    )
    assert list(other.refused.fields) == ["inputs[0].audio.source.task"]
    assert "upstream_ids = true" in other.refused.message
    assert polls_of_other == 0
    assert own.segments == admin.segments == first.segments


async def test_own_task_after_its_deadline() -> None:
    """A client whose deadline has passed gets the result of its task without the permission."""
    late = (("grpc-timeout", "8S"), *bearer("s"))
    async with running(SandboxOptions(task_polls=2), tokens=TOKENS) as (served, sandbox):
        sandbox.faults.add(Fault("hold", operation="task_poll", pause_sec=30))
        first = await outcome(from_source(served, file_of(SOUND, **TASK), timeout=None, metadata=late))
        asked = of_task(first.refused.failure.upstream_task_id)
        later = await outcome(from_source(served, asked, metadata=bearer("s")))

    assert first.refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert later.failure is None


@pytest.mark.parametrize("asked", [of_task(NOBODYS), ASSET], ids=["task", "asset"])
async def test_guessed_identifier(asked: pb.AudioInput) -> None:
    """A guessed identifier is rejected before anything is sent, also in a unary call and after repeated attempts."""
    async with running(tokens=TOKENS) as (served, sandbox):
        for _ in range(2):
            found = await outcome(from_source(served, asked, metadata=bearer("s")))
            assert found.refused.code is grpc.StatusCode.PERMISSION_DENIED
        unary = served.stub.CreateEmbeddingUnary(UNARY, metadata=bearer("s"), timeout=60)
        assert await unary.code() is grpc.StatusCode.PERMISSION_DENIED
        assert not sandbox.operations["task_poll"]
        assert not sandbox.operations["embed_v2"]


async def test_key_of_the_caller() -> None:
    """With its own upstream key a client may use any identifier, and gains no right to use it with the server's."""
    key: Any = ("x-upstream-api-key", "key-of-the-caller")
    async with running(tokens=TOKENS, auth_allow_caller_api_keys=True) as (served, sandbox):
        begun = from_source(served, file_of(SOUND, **TASK), metadata=bearer("i"))
        task = of_task((await stage(begun, PROCESSING)).upstream_task_id)
        with_key = await outcome(from_source(served, task, metadata=[*bearer("s"), key]))
        polled = sandbox.operations["task_poll"]
        without = await outcome(from_source(served, task, metadata=bearer("s")))
        begun.cancel()

    assert polled
    assert with_key.failure is None or with_key.refused.info.reason == "UPSTREAM_TASK_NOT_FOUND"
    assert without.refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_without_tokens() -> None:
    """A server without tokens accepts any identifier."""
    async with running() as (served, _):
        found = await outcome(from_source(served, of_task(NOBODYS)))
    assert found.refused.info.reason == "UPSTREAM_TASK_NOT_FOUND"
