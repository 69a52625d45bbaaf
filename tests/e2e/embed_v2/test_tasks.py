"""Tasks: each is created once, polled within the deadline, and its result is returned in order, also later."""

from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_sandbox import Fault, SandboxOptions
from tests.e2e.embed_v2.support import (
    AT_ONCE,
    IN_TIME,
    PROCESSING,
    UPLOADING,
    counts,
    file_of,
    from_source,
    of_task,
    outcome,
    running,
    stage,
)
from tests.support.media import wav
from tests.support.messages import request, text_input
from tests.support.uploads import TASK

SOUND = wav(20)
ENDLESS = SandboxOptions(task_polls=1_000_000)


async def test_result() -> None:
    """A short file is sent with the task; its id is in the first PROCESSING event and in the result."""
    async with running() as (served, sandbox):
        found = await outcome(from_source(served, file_of(SOUND, **TASK)))
        (task,) = sandbox.tasks

    assert found.failure is None
    assert found.stages == [(UPLOADING, ""), (PROCESSING, task.id)]
    assert found.result.upstream_task_id == task.id
    assert found.result.upstream == "sandbox"
    assert found.result.media_duration_sec == 20
    assert counts(sandbox) == {"task_create": 1, "task_poll": 1}


async def test_order() -> None:
    """Segments are in the order of time, whatever the order of the upstream, and numbered in it."""
    scopes = {"embedding_scopes": ["clip", "asset"], "segmentation": {"fixed": {"duration_sec": 2}}}
    async with running(SandboxOptions(task_polls=0, shuffle_data=True, shuffle_seed=3)) as (served, _):
        found = await outcome(from_source(served, file_of(SOUND, **TASK, **scopes)))

    times = [(one.audio.start_offset_sec, one.audio.end_offset_sec) for one in found.segments]
    assert times == sorted(times)
    assert [one.segment_index for one in found.segments] == list(range(len(times)))
    assert {one.audio.embedding_scope for one in found.segments} == {"clip", "asset"}
    assert len(times) == found.result.segment_count == 2 * (10 + 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "lost_reply"},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 504},
        {"kind": "cut", "after_bytes": 3},
        {"kind": "malformed_json"},
    ],
    ids=str,
)
async def test_created_once(fault: dict[str, Any]) -> None:
    """A task whose creation was not confirmed is not created again, also if its connection had been used before."""
    async with running() as (served, sandbox):
        await outcome(served.stub.CreateEmbedding(request(text_input()), timeout=60))
        sandbox.faults.add(Fault(operation="task_create", times=None, **fault))
        found = await outcome(from_source(served, file_of(SOUND, **TASK)))

    assert counts(sandbox)["task_create"] == 1
    assert found.refused.info.reason in {"UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "UPSTREAM_MALFORMED_REPLY"}
    assert found.refused.failure.attempts == 1


async def test_rejected_creation() -> None:
    """A creation that the upstream has rejected with HTTP 429 is repeated: no task was created."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault("status", operation="task_create", status=429, headers={"Retry-After": "1"}))
        found = await outcome(from_source(served, file_of(SOUND, **TASK)))

    assert found.failure is None
    assert (counts(sandbox)["task_create"], len(found.segments)) == (2, found.result.segment_count)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "close"},
        {"kind": "reset"},
        {"kind": "lost_reply"},
        {"kind": "cut", "after_bytes": 10},
    ],
    ids=str,
)
async def test_failed_polls(fault: dict[str, Any]) -> None:
    """Polls that are rejected or lost do not fail the input, and create no second task."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault(operation="task_poll", times=2, **fault))
        found = await outcome(from_source(served, file_of(SOUND, **TASK)))

    assert found.failure is None
    assert (counts(sandbox)["task_create"], counts(sandbox)["task_poll"]) == (1, 3)


async def test_deadline_and_later_call() -> None:
    """The failure at the deadline has the id of the task, and a later call with it returns the result."""
    async with running(SandboxOptions(task_polls=2)) as (served, sandbox):
        sandbox.faults.add(Fault("hold", operation="task_poll", pause_sec=30))
        late = await outcome(from_source(served, file_of(SOUND, **TASK), **IN_TIME))
        later = await outcome(from_source(served, of_task(late.refused.failure.upstream_task_id)))

    assert late.refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert later.failure is None
    assert later.stages == [(PROCESSING, later.result.upstream_task_id)]
    assert len(later.segments) == later.result.segment_count > 0
    assert counts(sandbox)["task_create"] == 1


async def test_cancelled_call_and_later_call() -> None:
    """The task of a cancelled call is known from its progress, and continues."""
    async with running(SandboxOptions(task_polls=1)) as (served, sandbox):
        call = from_source(served, file_of(SOUND, **TASK))
        progress = await stage(call, PROCESSING)
        call.cancel()
        later = await outcome(from_source(served, of_task(progress.upstream_task_id)))

    assert later.failure is None
    assert later.result.upstream_task_id == progress.upstream_task_id
    assert counts(sandbox)["task_create"] == 1


async def test_unary() -> None:
    """A unary call returns the result of a task, and its failure at the deadline has the id."""
    asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[pb.Input(audio=file_of(SOUND, **TASK))])
    async with running() as (served, _):
        (found,) = (await served.stub.CreateEmbeddingUnary(asked, timeout=60)).embeddings
    async with running(ENDLESS) as (served, sandbox):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(asked, **IN_TIME)
        (task,) = sandbox.tasks

    assert found.result.upstream_task_id
    assert len(found.segments) == found.result.segment_count
    details = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert task.id.encode() in details


async def test_failed_task() -> None:
    """The failure of a failed task has the upstream's message and the id of the task."""
    async with running(SandboxOptions(task_polls=0, task_failure="There is no sound.")) as (served, sandbox):
        found = await outcome(from_source(served, file_of(SOUND, **TASK)))
        (task,) = sandbox.tasks

    assert found.refused.info.reason == "INPUT_REJECTED"
    assert "There is no sound." in found.refused.message
    assert found.refused.failure.upstream_task_id == task.id
    assert counts(sandbox)["task_create"] == 1


async def test_failed_task_among_others() -> None:
    """With several inputs, a failed task fails its input only; its result has the id."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault("modality_error", operation="task_create", message="There is no sound."))
        asked = request(pb.Input(audio=file_of(SOUND, **TASK)), text_input())
        found = await outcome(served.stub.CreateEmbedding(asked, timeout=60))
        (task,) = sandbox.tasks

    results = {event.result.input_index: event.result for event in found.events if event.HasField("result")}
    assert results[0].failure.upstream_task_id == results[0].upstream_task_id == task.id
    assert "There is no sound." in results[0].failure.message
    assert not results[1].HasField("failure")


async def test_unknown_task() -> None:
    """A task that the upstream does not know is NOT_FOUND with its own reason."""
    async with running() as (served, sandbox):
        found = await outcome(from_source(served, of_task("64f8d2c7e4a1b37f8a9c5d12")))

    assert (found.refused.code, found.refused.info.reason) == (grpc.StatusCode.NOT_FOUND, "UPSTREAM_TASK_NOT_FOUND")
    assert found.refused.failure.upstream_task_id == "64f8d2c7e4a1b37f8a9c5d12"
    assert counts(sandbox) == {"task_poll": 1}


async def test_expired_task() -> None:
    """A task that the upstream has forgotten is NOT_FOUND as well."""
    async with running(SandboxOptions(task_polls=0, task_expiry_sec=3)) as (served, sandbox):
        first = await outcome(from_source(served, file_of(SOUND, **TASK)))
        while sandbox.tasks:
            await outcome(from_source(served, of_task(first.result.upstream_task_id)))
        found = await outcome(from_source(served, of_task(first.result.upstream_task_id)))

    assert first.failure is None
    assert (found.refused.code, found.refused.info.reason) == (grpc.StatusCode.NOT_FOUND, "UPSTREAM_TASK_NOT_FOUND")


async def test_marengo_35() -> None:
    """Audio of Marengo 3.5 is a task unless one vector is requested, with its uncertainty and dimensions."""
    asked = request(pb.Input(audio=file_of(SOUND)), model="marengo3.5", dimensions=128, include_uncertainty=True)
    async with running(AT_ONCE) as (served, sandbox):
        found = await outcome(served.stub.CreateEmbedding(asked, timeout=60))

    assert found.failure is None
    assert found.result.dimensions == 128
    assert all(len(one.uncertainty.float_values.values) == 128 for one in found.segments)
    assert dict(found.result.input_tokens)
    assert counts(sandbox) == {"task_create": 1, "task_poll": 1}
