"""The cleanup job: deletes old assets of its deployment, whatever became of the server that created them."""

import datetime as dt
from typing import Any

import httpx
import pytest

from embedwire_sandbox import Fault, Sandbox, SandboxOptions
from tests.e2e.embed_v2.support import KEY, PREPARING, PROCESSING, on, outcome, padded, stage, upload
from tests.support.media import wav
from tests.support.serving import serving, until
from tests.support.uploads import TASK, audio

DIGITS = "0123456789abcdef01234567"
OFTEN: dict[str, Any] = {"assets_max_age": 1800.0, "assets_cleanup_interval": 1.0}


async def create(sandbox: Sandbox, *names: str, hours_ago: float = 1, key: str = KEY) -> None:
    """Create assets of these names, as another server could have."""
    async with httpx.AsyncClient(base_url=sandbox.base_url, headers={"x-api-key": key}, trust_env=False) as http:
        for name in names:
            fields = {"method": "direct", "filename": name}
            (await http.post("/assets", data=fields, files={"file": wav(1)})).raise_for_status()
    for asset in sandbox.assets[-len(names) :]:
        asset.created_at -= dt.timedelta(hours=hours_ago)


def names(sandbox: Sandbox) -> list[str]:
    return [asset.filename for asset in sandbox.assets]


async def cleaned(sandbox: Sandbox) -> None:
    """Wait for a complete run of the job: the second that begins from now on has begun."""
    listed = sandbox.operations["asset_list"]
    await until(lambda: sandbox.operations["asset_list"] >= listed + 2)


async def test_old_assets() -> None:
    """Old assets of the deployment are deleted, also more than one page of them; younger ones and others are not."""
    kept = ["holiday.wav", "embedwire-green-" + DIGITS, "of-embedwire-blue-" + DIGITS]
    async with Sandbox() as sandbox:
        await create(sandbox, *(f"embedwire-blue-{number:024x}.wav" for number in range(60)), *kept)
        await create(sandbox, "embedwire-blue-" + DIGITS, hours_ago=0.1)
        async with serving(**on(sandbox), **OFTEN, assets_deployment="blue") as served:
            await until(lambda: served.metric("embedwire_assets_deleted_total") == 60)
            await cleaned(sandbox)
            assert sorted(names(sandbox)) == sorted([*kept, "embedwire-blue-" + DIGITS])


async def test_deployment_with_a_longer_name() -> None:
    """Assets of a deployment whose name begins with that of this one are not deleted."""
    other = f"embedwire-blue-green-{DIGITS}.wav"
    async with Sandbox() as sandbox:
        await create(sandbox, other, f"embedwire-blue-{DIGITS}.mp3")
        async with serving(**on(sandbox), **OFTEN, assets_deployment="blue"):
            await until(lambda: len(sandbox.assets) == 1)
            await cleaned(sandbox)
            assert names(sandbox) == [other]


@pytest.mark.parametrize("until_stage", [PREPARING, PROCESSING])
async def test_asset_in_use(until_stage: int) -> None:
    """An asset that an input of this server uses is not deleted, however old it is."""
    options = SandboxOptions(asset_polls=10_000 if until_stage == PREPARING else 0, task_polls=10_000)
    async with Sandbox(options) as sandbox, serving(**on(sandbox), **OFTEN) as served:
        call = upload(served, padded(), audio(**TASK))
        await stage(call, until_stage)
        sandbox.assets[0].created_at -= dt.timedelta(hours=1)
        await cleaned(sandbox)
        assert len(sandbox.assets) == 1
        call.cancel()


async def test_lost_creation() -> None:
    """An asset whose creation was not confirmed fails its input, is not created again, and is deleted when old."""
    async with Sandbox() as sandbox, serving(**on(sandbox), **OFTEN) as served:
        sandbox.faults.add(Fault("lost_reply", operation="asset_create", times=None))
        found = await outcome(upload(served, padded(), audio()))
        assert sandbox.operations["asset_create"] == len(sandbox.assets) == 1
        sandbox.assets[0].created_at -= dt.timedelta(hours=1)
        await until(lambda: not sandbox.assets)

    assert found.refused.info.reason == "UPSTREAM_UNAVAILABLE"


async def test_lost_task() -> None:
    """The asset of a task whose creation was not confirmed is not deleted until it is old: the task may use it."""
    async with Sandbox(SandboxOptions(asset_polls=0)) as sandbox, serving(**on(sandbox), **OFTEN) as served:
        sandbox.faults.add(Fault("lost_reply", operation="task_create", times=None))
        found = await outcome(upload(served, padded(), audio(**TASK)))
        await cleaned(sandbox)
        assert len(sandbox.assets) == len(sandbox.tasks) == 1
        sandbox.assets[0].created_at -= dt.timedelta(hours=1)
        await until(lambda: not sandbox.assets)

    assert found.refused.info.reason == "UPSTREAM_UNAVAILABLE"


async def test_failed_list() -> None:
    """A run that fails does not end the job, and neither does an asset that cannot be deleted."""
    async with Sandbox() as sandbox:
        await create(sandbox, f"embedwire-default-{DIGITS}")
        sandbox.faults.add(Fault("status", operation="asset_list", status=500, times=2))
        sandbox.faults.add(Fault("status", operation="asset_delete", status=403, body=""))
        async with serving(**on(sandbox), **OFTEN) as served:
            await until(lambda: not sandbox.assets)
            await until(lambda: served.metric("embedwire_assets_deleted_total") == 1)
            assert served.metric("embedwire_asset_deletions_failed_total") == 1
