"""Assets of files above 36 MB: their names, and their deletion after every ending of a call."""

import re

import pytest

from embedwire_sandbox import Fault, SandboxOptions
from embedwire_sandbox.countdown import Countdown
from tests.e2e.embed_v2.support import (
    AT_ONCE,
    IN_TIME,
    PREPARING,
    PROCESSING,
    UPLOADING,
    counts,
    outcome,
    padded,
    running,
    stage,
    upload,
)
from tests.support.serving import until
from tests.support.uploads import TASK, audio

REFUSAL = '{"code": "parameter_invalid", "message": "No."}'


async def test_synchronous_request() -> None:
    """A file becomes an asset with a name of the deployment, which is deleted after the request that uses it."""
    async with running(assets_deployment="blue") as (served, sandbox):
        call = upload(served, padded(), audio())
        await stage(call, UPLOADING)
        found = await outcome(call)
        await until(lambda: not sandbox.assets)
        (created,) = [one for one in sandbox.journal if one.operation == "asset_create"]
        await until(lambda: served.metric("embedwire_assets_deleted_total") == 1)

    assert found.failure is None
    assert len(found.segments) == found.result.segment_count == 2
    assert found.result.metadata.input_filename == "of-the-caller.wav"
    assert created.content_length is not None
    assert created.content_length > len(padded())
    assert counts(sandbox) == {"asset_create": 1, "asset_poll": 1, "embed_v2": 1, "asset_delete": 1}


async def test_name() -> None:
    """The name has the deployment, random digits and the extension, and nothing else of the caller's name."""
    async with running(SandboxOptions(asset_polls=10_000), assets_deployment="blue") as (served, sandbox):
        call = upload(served, padded(), audio())
        await stage(call, PREPARING)
        (name,) = [asset.filename for asset in sandbox.assets]
        call.cancel()
        await until(lambda: not sandbox.assets)

    assert re.fullmatch(r"embedwire-blue-[0-9a-f]{24}\.wav", name)


async def test_task() -> None:
    """The asset of a task exists until the task is ready, and is deleted then; stages come in their order."""
    async with running(SandboxOptions(asset_polls=1, task_polls=1)) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK))
        progress = await stage(call, PROCESSING)
        assert [asset.id for asset in sandbox.assets] == [task.asset_id for task in sandbox.tasks]
        found = await outcome(call)
        await until(lambda: not sandbox.assets)

    assert found.failure is None
    assert progress.upstream_task_id == found.result.upstream_task_id
    expected = {"asset_create": 1, "asset_poll": 2, "task_create": 1, "task_poll": 2, "asset_delete": 1}
    assert counts(sandbox) == expected


async def test_stages() -> None:
    """Stages are reported once each, in their order; only the last has the task."""
    async with running(SandboxOptions(asset_polls=1, task_polls=0)) as (served, sandbox):
        found = await outcome(upload(served, padded(), audio(**TASK)))
        (task,) = sandbox.tasks

    assert found.stages == [(UPLOADING, ""), (PREPARING, ""), (PROCESSING, task.id)]


async def test_failed_task() -> None:
    """The asset of a task that fails is deleted once it has failed."""
    async with running(SandboxOptions(asset_polls=0, task_polls=0, task_failure="No sound.")) as (served, sandbox):
        found = await outcome(upload(served, padded(), audio(**TASK)))
        await until(lambda: not sandbox.assets)

    assert found.refused.failure.upstream_task_id


async def test_failed_asset() -> None:
    """An asset that the upstream cannot use fails its input with the upstream's reason, and is deleted."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault("modality_error", operation="asset_create", message="This is no sound."))
        found = await outcome(upload(served, padded(), audio()))
        await until(lambda: not sandbox.assets)

    assert found.refused.info.reason == "INPUT_REJECTED"
    assert "This is no sound." in found.refused.message
    assert counts(sandbox)["asset_delete"] == 1


@pytest.mark.parametrize("operation", ["embed_v2", "task_create"])
async def test_refused_request(operation: str) -> None:
    """If the request that would use it is rejected, the asset is deleted immediately."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault("status", operation=operation, status=400, body=REFUSAL))  # type: ignore[arg-type]
        found = await outcome(upload(served, padded(), audio(**TASK) if operation == "task_create" else audio()))
        await until(lambda: not sandbox.assets)

    assert found.refused.info.reason == "INPUT_REJECTED"
    assert counts(sandbox) == {"asset_create": 1, "asset_poll": 1, operation: 1, "asset_delete": 1}


async def test_repeated_request() -> None:
    """A synchronous request that is repeated uses the same asset."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault("status", operation="embed_v2", status=503))
        found = await outcome(upload(served, padded(), audio()))
        await until(lambda: not sandbox.assets)

    assert found.failure is None
    assert counts(sandbox) == {"asset_create": 1, "asset_poll": 2, "embed_v2": 2, "asset_delete": 1}


async def test_cancelled_while_preparing() -> None:
    """A call that is cancelled before a task was created leaves no asset."""
    async with running(SandboxOptions(asset_polls=10_000)) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK))
        await stage(call, PREPARING)
        call.cancel()
        await until(lambda: not sandbox.assets)

    assert "task_create" not in counts(sandbox)


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
async def test_ended_while_processing(ending: str) -> None:
    """After a call that ends before its task, the asset is deleted only when the task has ended."""
    async with running(SandboxOptions(asset_polls=0, task_polls=10_000)) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK), **(IN_TIME if ending == "deadline" else {}))
        progress = await stage(call, PROCESSING)
        if ending == "cancel":
            call.cancel()
        else:
            found = await outcome(call)
            assert found.refused.info.reason == "DEADLINE_EXCEEDED"
            assert found.refused.failure.upstream_task_id == progress.upstream_task_id
        polls = sandbox.operations["task_poll"]
        await until(lambda: sandbox.operations["task_poll"] > polls + 1)
        assert len(sandbox.assets) == 1
        (task,) = sandbox.tasks
        task.countdown = Countdown(0, 0)
        await until(lambda: not sandbox.assets)
        assert task.status == "ready"

    assert counts(sandbox)["task_create"] == counts(sandbox)["asset_delete"] == 1


async def test_drain() -> None:
    """A server that shuts down waits some seconds for the task of a call that it has ended, and deletes its asset."""
    async with running(SandboxOptions(asset_polls=0, task_polls=2), shutdown_grace_period=0.2) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK))
        progress = await stage(call, PROCESSING)
        await served.app.__aexit__(None, None, None)
        found = await outcome(call)
        assert not sandbox.assets
        (task,) = sandbox.tasks
        assert task.status == "ready"

    assert found.refused.info.reason == "DRAINING"
    assert found.refused.failure.upstream_task_id == progress.upstream_task_id


async def test_lost_deletion() -> None:
    """A deletion whose response is lost is repeated; an asset that does not exist any more counts as deleted."""
    async with running(AT_ONCE) as (served, sandbox):
        sandbox.faults.add(Fault("lost_reply", operation="asset_delete"))
        await outcome(upload(served, padded(), audio()))
        await until(lambda: served.metric("embedwire_assets_deleted_total") == 1)

    assert counts(sandbox)["asset_delete"] == 2
