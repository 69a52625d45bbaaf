"""Assets that cannot be deleted are counted and logged, and those of callers' own keys are deleted with these."""

from typing import Any

import pytest

from embedwire_sandbox import Fault, SandboxOptions
from tests.e2e.embed_v2.support import PROCESSING, counts, outcome, padded, running, stage, upload
from tests.support.serving import Served, until
from tests.support.uploads import TASK, audio

ASSETS_ONLY = SandboxOptions(asset_polls=0, task_polls=10_000)
OWN: dict[str, Any] = {"metadata": (("x-upstream-api-key", "of-the-caller"),)}
FAILED = "embedwire_asset_deletions_failed_total"


def failures(served: Served) -> float:
    return served.metric(FAILED)


async def test_rejected_deletion(capsys: pytest.CaptureFixture[str]) -> None:
    """A deletion that the upstream rejects is counted and logged with the asset; the input is not affected."""
    async with running() as (served, sandbox):
        sandbox.faults.add(Fault("status", operation="asset_delete", status=403, body="", times=None))
        found = await outcome(upload(served, padded(), audio()))
        await until(lambda: failures(served) == 1)
        (asset,) = sandbox.assets

    assert found.failure is None
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "cannot be deleted" in line]
    assert asset.id in line
    assert asset.filename not in line
    assert counts(sandbox)["asset_delete"] == 1


async def test_own_key() -> None:
    """The asset of a caller's own key is created, used and deleted with it."""
    async with running(SandboxOptions(asset_polls=0, task_polls=0), auth_allow_caller_api_keys=True) as (
        served,
        sandbox,
    ):
        call = upload(served, padded(), audio(**TASK), **OWN)
        await stage(call, PROCESSING)
        (owner,) = [asset.owner for asset in sandbox.assets]
        found = await outcome(call)
        await until(lambda: not sandbox.assets)

    assert found.failure is None
    assert owner == "of-the-caller"


async def test_task_that_does_not_end() -> None:
    """After the maximum age, the asset of a caller's own key is deleted although its task has not ended."""
    async with running(ASSETS_ONLY, auth_allow_caller_api_keys=True, assets_max_age=2.0) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK), **OWN)
        await stage(call, PROCESSING)
        call.cancel()
        await until(lambda: not sandbox.assets)
        assert sandbox.tasks[0].failure  # it has lost its source

    assert counts(sandbox)["task_create"] == counts(sandbox)["asset_delete"] == 1


async def test_lost_task_of_an_own_key() -> None:
    """The same if the creation of the task was not confirmed: the cleanup job does not have the key."""
    async with running(ASSETS_ONLY, auth_allow_caller_api_keys=True, assets_max_age=2.0) as (served, sandbox):
        sandbox.faults.add(Fault("lost_reply", operation="task_create", times=None))
        found = await outcome(upload(served, padded(), audio(**TASK), **OWN))
        assert len(sandbox.assets) == 1
        await until(lambda: not sandbox.assets)

    assert found.refused.info.reason == "UPSTREAM_UNAVAILABLE"


async def test_task_that_cannot_be_asked_for() -> None:
    """If polls after the end of a call are rejected, the asset is deleted after the maximum age."""
    async with running(ASSETS_ONLY, assets_max_age=2.0) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK))
        await stage(call, PROCESSING)
        sandbox.faults.add(Fault("status", operation="task_poll", status=403, body="", times=None))
        call.cancel()
        await until(lambda: not sandbox.assets)


async def test_server_that_stops(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that stops before the task of a caller's own key has ended logs the asset that it leaves."""
    async with running(ASSETS_ONLY, auth_allow_caller_api_keys=True) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK), **OWN)
        await stage(call, PROCESSING)
        call.cancel()
        await served.app.__aexit__(None, None, None)
        (asset,) = sandbox.assets

    (line,) = [line for line in capsys.readouterr().out.splitlines() if asset.id in line]
    assert "warning" in line
    assert "of-the-caller" not in line


async def test_expired_task() -> None:
    """A task that is not known any more counts as ended."""
    async with running(SandboxOptions(asset_polls=0, task_polls=10_000, task_expiry_sec=4)) as (served, sandbox):
        call = upload(served, padded(), audio(**TASK))
        await stage(call, PROCESSING)
        call.cancel()
        await until(lambda: not sandbox.assets)
        assert not sandbox.tasks


async def test_lost_asset_of_an_own_key() -> None:
    """An asset of a caller's own key whose creation was not confirmed is found by its name, and deleted."""
    async with running(ASSETS_ONLY, auth_allow_caller_api_keys=True) as (served, sandbox):
        sandbox.faults.add(Fault("lost_reply", operation="asset_create", times=None))
        found = await outcome(upload(served, padded(), audio(**TASK), **OWN))
        assert len(sandbox.assets) == 1
        await until(lambda: not sandbox.assets)

    assert found.refused.info.reason == "UPSTREAM_UNAVAILABLE"
    assert counts(sandbox)["asset_create"] == 1
