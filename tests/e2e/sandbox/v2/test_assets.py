"""Assets, with the official SDK."""

from pathlib import Path
from typing import Any

import pytest
from twelvelabs import AsyncTwelveLabs
from twelvelabs.core.api_error import ApiError
from twelvelabs.errors import BadRequestError, NotFoundError

from embedwire_sandbox import Fault, Sandbox, SandboxOptions
from tests.e2e.sandbox.official import plain
from tests.e2e.sandbox.v2.clients import audio, image, multi, official, post_json
from tests.support.media import Pipe, flac, png, wav

FILE = ("ö.wav", wav(7), "audio/wav")


async def created(client: AsyncTwelveLabs, file: Any = FILE, **more: Any) -> str:
    """Create an asset from a file, and return its id."""
    asset = await client.assets.create(method="direct", file=file, **more)
    assert (asset.status, asset.method) == ("processing", "direct")
    return asset.id or ""


async def ready(client: AsyncTwelveLabs, asset_id: str) -> Any:
    """Poll until the asset is ready or has failed."""
    while (asset := await client.assets.retrieve(asset_id)).status == "processing":
        assert asset.size is None
    return asset


async def embedded(sandbox: Sandbox, body: dict[str, Any]) -> Any:
    return (await post_json(sandbox, "/embed-v2", body)).json()


async def test_ready() -> None:
    """An asset is processing for the configured number of polls, then ready, with its properties."""
    async with Sandbox(SandboxOptions(asset_polls=2)) as sandbox, official(sandbox) as client:
        asset_id = await created(client, enable_hls=False, user_metadata='{"k": "v"}')
        statuses = [(await client.assets.retrieve(asset_id)).status for _ in range(3)]
        asset: Any = await client.assets.retrieve(asset_id)

    assert statuses == ["processing", "processing", "ready"]
    assert (asset.filename, asset.file_type, asset.duration, asset.size) == ("ö.wav", "audio/wav", 7, len(wav(7)))
    assert asset.technical_metadata.audio_sample_rate == 16_000
    assert (asset.hls, asset.user_metadata) == (None, {"k": "v"})


@pytest.mark.parametrize(
    ("file", "name"),
    [(wav(7), "upload"), (Pipe(wav(7)), "upload"), (("a.wav", Pipe(wav(7))), "a.wav")],
    ids=["bytes", "stream", "named stream"],
)
async def test_forms(sandbox: Sandbox, file: Any, name: str) -> None:
    """Files are accepted in every form of the SDK; `filename` takes precedence over the name of the file."""
    async with official(sandbox) as client:
        asset = await ready(client, await created(client, file))
        named = await client.assets.create(method="direct", file=wav(1), filename="other.wav")

    assert (asset.filename, asset.size, named.filename) == (name, len(wav(7)), "other.wav")


async def test_by_url(sandbox: Sandbox, media_url: str) -> None:
    """A file can be fetched from a URL; if that fails, the asset fails."""
    async with official(sandbox) as client:
        asset = await client.assets.create(method="url", url=f"{media_url}/picture?x=1")
        found = await ready(client, asset.id or "")
        lost = await client.assets.create(method="url", url=f"{media_url}/moved")
        failed = await ready(client, lost.id or "")

    assert (found.status, found.method, found.filename, found.file_type) == ("ready", "url", "picture", "image/png")
    assert (failed.status, failed.error.message) == ("failed", "The file could not be fetched.")


async def test_use(sandbox: Sandbox) -> None:
    """A ready asset is embedded like its file, in each kind of call, and its name is in the metadata."""
    async with official(sandbox) as client:
        sound, picture = await created(client), await created(client, ("p.png", png(), "image/png"))
        for asset_id in (sound, picture):
            await ready(client, asset_id)
    source = {"asset_id": sound}
    by_asset = await embedded(sandbox, audio(source))
    pictured = await embedded(sandbox, image({"asset_id": picture}))
    newer = await embedded(sandbox, multi(None, {"media_type": "audio", **source}))

    assert len(by_asset["data"]) == 6
    assert by_asset["metadata"]["input_filename"] == "ö.wav"
    assert pictured["metadata"] == {"input_type": "image", "input_filename": "p.png"}
    assert len(newer["data"]) == 1


@pytest.mark.parametrize("path", ["/embed-v2", "/embed-v2/tasks"])
async def test_use_too_early(sandbox: Sandbox, path: str) -> None:
    """An asset that is not ready is a 400, one that does not exist or belongs to another key a 404."""
    async with official(sandbox) as client, official(sandbox, "other") as other:
        early, foreign = await created(client), await created(other)
    replies = [await post_json(sandbox, path, audio({"asset_id": asset})) for asset in (early, "0" * 24, foreign)]

    assert [reply.status_code for reply in replies] == [400, 404, 404]
    assert [reply.json()["code"] for reply in replies] == [
        "asset_not_ready",
        "resource_not_exist",
        "resource_not_exist",
    ]


async def test_delete(sandbox: Sandbox) -> None:
    """A deletion is a 204, a second one a 404; the asset is gone for every call."""
    async with official(sandbox) as client:
        asset_id = await created(client)
        await client.assets.delete(asset_id)
        with pytest.raises(ApiError) as caught:
            await client.assets.delete(asset_id, force=True)
        with pytest.raises(NotFoundError):
            await client.assets.retrieve(asset_id)

    assert caught.value.status_code == 404
    assert sandbox.assets == []


@pytest.mark.parametrize(("outlives", "status"), [(False, "failed"), (True, "ready")])
async def test_task_of_a_deleted_asset(*, outlives: bool, status: str) -> None:
    """A task whose asset is deleted too early fails, unless an option says otherwise; a ready task is unaffected."""
    async with Sandbox(SandboxOptions(task_outlives_asset=outlives)) as sandbox, official(sandbox) as client:
        asset_id = await created(client)
        await ready(client, asset_id)
        path, body = "/embed-v2/tasks", audio({"asset_id": asset_id})
        done, early = [(await post_json(sandbox, path, body)).json()["_id"] for _ in range(2)]
        while (await client.embed.v_2.tasks.retrieve(done)).status == "processing":
            pass
        await client.assets.delete(asset_id)
        while (task := await client.embed.v_2.tasks.retrieve(early)).status == "processing":
            pass

        assert (await client.embed.v_2.tasks.retrieve(done)).status == "ready"
        assert task.status == status
        if task.error:
            assert task.error.message == "failed to fetch or materialize source media"


async def test_list(sandbox: Sandbox) -> None:
    """Assets of the key are listed by page, newest first, filtered by part of the name, id and type."""
    async with official(sandbox) as client, official(sandbox, "other") as other:
        first = await created(client, ("Run-1.wav", wav(1)))
        second = await created(client, ("run-2.png", png()))
        third = await created(client, ("else.wav", wav(1)))
        await created(other, ("run-3.wav", wav(1)))

        async def listed(**query: Any) -> list[str | None]:
            return [asset.id async for asset in await client.assets.list(**query)]

        assert await listed(page_limit=1) == [third, second, first]
        assert await listed(filename="RUN-") == [second, first]
        assert await listed(filename="run-", asset_types=["image"]) == [second]
        assert await listed(asset_ids=[first, third]) == [third, first]


BAD_FORMS: dict[str, dict[str, Any]] = {
    "no method": {"file": ("a", b"x")},
    "unknown method": {"method": (None, "post"), "file": ("a", b"x")},
    "no file": {"method": (None, "direct")},
    "no url": {"method": (None, "url")},
    "both": {"method": (None, "url"), "url": (None, "http://x/"), "file": ("a", b"x")},
    "bad flag": {"method": (None, "direct"), "enable_hls": (None, "no"), "file": ("a", b"x")},
    "bad metadata": {"method": (None, "direct"), "user_metadata": (None, "[]"), "file": ("a", b"x")},
    "unknown part": {"method": (None, "direct"), "name": (None, "x"), "file": ("a", b"x")},
}


@pytest.mark.parametrize("case", BAD_FORMS)
async def test_rejected(sandbox: Sandbox, case: str) -> None:
    """A wrong form is a 400, and no asset is created."""
    async with plain(sandbox) as http:
        reply = await http.post("/assets", files=BAD_FORMS[case])

    assert reply.status_code == 400
    assert sandbox.assets == []


async def test_unusable_file(sandbox: Sandbox) -> None:
    """A file that is no media is accepted, and fails."""
    async with official(sandbox) as client:
        asset = await ready(client, await created(client, b"no media"))

    assert asset.status == "failed"
    assert "not valid" in asset.error.message


async def test_too_large() -> None:
    """A file over the limit of direct uploads is a nested 413; the limit is 200 MB."""
    async with Sandbox(SandboxOptions(max_asset_bytes=1_000)) as sandbox, official(sandbox) as client:
        with pytest.raises(ApiError) as caught:
            await created(client)

    assert caught.value.status_code == 413
    assert caught.value.body["error"]["code"] == "CONTENT_TOO_LARGE"
    assert SandboxOptions().max_asset_bytes == 200_000_000


async def test_rate_limit() -> None:
    """Creations of assets have a limit of their own; polls and deletions have none."""
    async with Sandbox(SandboxOptions(requests_per_minute={"asset": 1})) as sandbox, official(sandbox) as client:
        asset_id = await created(client)
        with pytest.raises(ApiError) as caught:
            await created(client)
        await ready(client, asset_id)
        await client.assets.delete(asset_id)

    assert caught.value.status_code == 429
    assert caught.value.headers is not None
    assert caught.value.headers["x-ratelimit-request-limit"] == "1"


async def test_scripted_failure(sandbox: Sandbox) -> None:
    """A fault lets an asset fail."""
    sandbox.faults.add(Fault("modality_error", operation="asset_create", message="No."))
    async with official(sandbox) as client:
        asset = await ready(client, await created(client))
        with pytest.raises(BadRequestError):
            await client.embed.v_2.create(**audio({"asset_id": asset.id}))

    assert (asset.status, asset.error.message) == ("failed", "No.")


async def test_files_are_deleted() -> None:
    """Files of assets are on disk until they are deleted, or the sandbox stops."""
    async with Sandbox() as sandbox, official(sandbox) as client:
        kept, deleted = await created(client), await created(client)
        paths = {asset.id: Path(asset.content.file.name) for asset in sandbox.assets if asset.content}
        assert paths[kept].read_bytes() == wav(7)
        await client.assets.delete(deleted)
        assert not paths[deleted].exists()
        with pytest.raises(ApiError):
            await client.assets.create(method="url", file=flac(20))
        assert list(paths[kept].parent.iterdir()) == [paths[kept]]
    assert not paths[kept].parent.exists()
