"""Uploads in chunks, with the official SDK and plain HTTP."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from twelvelabs.core.api_error import ApiError

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.sandbox.official import KEY, plain
from tests.e2e.sandbox.v2.clients import audio, official, post_json
from tests.support.media import wav

UPLOADS = "/assets/multipart-uploads"
CONTENT = wav(7)
CHUNK = 100_000
SMALL = SandboxOptions(chunk_bytes=CHUNK, first_chunk_urls=1)


async def begun(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    body = {"filename": "a.wav", "type": "audio", "total_size": len(CONTENT), **more}
    reply = await post_json(sandbox, UPLOADS, body)
    assert reply.status_code == 201
    upload: dict[str, Any] = reply.json()
    return upload


async def put(url: str, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(verify=False, trust_env=False) as http:
        return await http.put(url, content=content, headers=headers)


def proof(index: int, content: bytes) -> dict[str, Any]:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"chunk_index": index, "proof": digest, "proof_type": "etag", "chunk_size": len(content)}


async def test_official(tmp_path: Path) -> None:
    """The SDK uploads a file in chunks with more URLs than it gets at first; the asset becomes ready, and is usable."""
    path = tmp_path / "long.wav"
    path.write_bytes(CONTENT)
    async with Sandbox(SMALL) as sandbox, official(sandbox) as client:
        client_of_uploads: Any = client.multipart_upload  # the SDK adds methods that its types do not have
        result = await client_of_uploads.upload_file(str(path), file_type="audio")
        while (asset := await client.assets.retrieve(result.asset_id)).status == "processing":
            pass
        reply = await post_json(sandbox, "/embed-v2", audio({"asset_id": result.asset_id}))
        counts = sandbox.operations
        assert sandbox.uploads == []

    assert (asset.status, asset.method, asset.size, asset.duration) == ("ready", "multipart", len(CONTENT), 7)
    assert reply.json()["metadata"]["duration"] == 7
    assert (counts["upload_create"], counts["chunk"], counts["upload_complete"]) == (1, 3, 1)


async def test_steps() -> None:
    """Each step by plain HTTP: quoted ETag, reports in parts, duplicates, status, and an asset only at the end."""
    async with Sandbox(SMALL) as sandbox, plain(sandbox) as http:
        upload = await begun(sandbox)
        path = f"{UPLOADS}/{upload['upload_id']}"
        more = (await http.post(f"{path}/presigned-urls", json={"start": 2, "count": 50})).json()
        urls = {item["chunk_index"]: item["url"] for item in upload["upload_urls"] + more["upload_urls"]}
        chunks = {index: CONTENT[(index - 1) * CHUNK : index * CHUNK] for index in urls}
        etags = [(await put(urls[index], chunks[index])).headers["ETag"] for index in (3, 1, 2)]
        first = await http.post(path, json={"completed_chunks": [proof(1, chunks[1])]})
        too_early = await http.get(f"/assets/{upload['asset_id']}")
        status = await http.get(path, params={"page_limit": 2})
        listed = await http.get(UPLOADS)
        last = await http.post(path, json={"completed_chunks": [proof(index, chunks[index]) for index in chunks]})
        asset = await http.get(f"/assets/{upload['asset_id']}")
        done = await http.get(path)

    assert (upload["chunk_size"], upload["total_chunks"], list(urls)) == (CHUNK, 3, [1, 2, 3])
    assert (more["start_index"], more["count"]) == (2, 2)
    assert etags[1] == f'"{proof(1, chunks[1])["proof"]}"'
    assert first.json() == {
        "asset_id": upload["asset_id"],
        "processed_chunks": 1,
        "duplicate_chunks": 0,
        "total_completed": 1,
    }
    assert too_early.status_code == 404
    assert (status.json()["chunks_completed"], status.json()["chunks_pending"]) == (1, 2)
    assert [chunk["status"] for chunk in status.json()["uploaded_chunks"]] == ["completed", "pending"]
    assert [item["upload_id"] for item in listed.json()["data"]] == [upload["upload_id"]]
    assert (last.json()["processed_chunks"], last.json()["duplicate_chunks"]) == (2, 1)
    assert last.json()["url"].endswith(f"/assets/{upload['asset_id']}")
    assert asset.json()["status"] == "processing"
    assert done.json()["status"] == "completed"


async def test_presigned_url() -> None:
    """A presigned URL needs no key and refuses one; it works once, for a chunk of the right size."""
    async with Sandbox(SMALL) as sandbox:
        url = (await begun(sandbox))["upload_urls"][0]["url"]
        replies = [
            await put(url, CONTENT[:CHUNK], {"x-api-key": KEY}),
            await put(url, CONTENT[:CHUNK], {"Authorization": "Bearer x"}),
            await put(url, CONTENT[:10]),
            await put(url[:-1], CONTENT[:CHUNK]),
            await put(url.replace("/1?", "/2?"), CONTENT[:CHUNK]),
            await put(url, CONTENT[:CHUNK]),
            await put(url, CONTENT[:CHUNK]),
        ]

    assert [reply.status_code for reply in replies] == [400, 400, 400, 403, 403, 200, 403]
    assert all(len(reply.headers["x-trace-id"]) == 32 for reply in replies)


async def test_expiry() -> None:
    """A URL and an upload end after their time."""
    async with Sandbox(SandboxOptions(chunk_url_sec=0.0)) as sandbox:
        url = (await begun(sandbox))["upload_urls"][0]["url"]
        assert (await put(url, CONTENT)).status_code == 403
    async with Sandbox(SandboxOptions(upload_sec=0.0)) as sandbox, plain(sandbox) as http:
        upload = await begun(sandbox)
        path = f"{UPLOADS}/{upload['upload_id']}"
        assert (await put(upload["upload_urls"][0]["url"], CONTENT)).status_code == 403
        assert (await http.post(path, json={"completed_chunks": [proof(1, CONTENT)]})).status_code == 404
        assert (await http.post(f"{path}/presigned-urls", json={"start": 1, "count": 1})).status_code == 404
        assert (await http.get(path)).json()["status"] == "expired"


async def test_wrong_proof(sandbox: Sandbox) -> None:
    """A chunk that did not arrive, or with another ETag or size, is a 400."""
    upload = await begun(sandbox)
    path = f"{UPLOADS}/{upload['upload_id']}"
    await put(upload["upload_urls"][0]["url"], CONTENT)
    right = proof(1, CONTENT)
    for wrong in ({"proof": f'"{right["proof"]}"'}, {"chunk_size": 1}, {"chunk_index": 2}, {"proof_type": "md5"}):
        reply = await post_json(sandbox, path, {"completed_chunks": [{**right, **wrong}]})
        assert reply.status_code == 400, wrong
    assert sandbox.assets == []


@pytest.mark.parametrize(
    "more", [{"type": "text"}, {"total_size": 0}, {"filename": None}, {"new": 1}, {"enable_hls": "no"}]
)
async def test_rejected(sandbox: Sandbox, more: dict[str, Any]) -> None:
    """A wrong parameter of an upload is a 400."""
    body = {"filename": "a.wav", "type": "audio", "total_size": 10, **more}
    assert (await post_json(sandbox, UPLOADS, body)).status_code == 400


async def test_too_large(sandbox: Sandbox) -> None:
    """More than 10 GB of audio, or 32 MB of an image, is a 413; another key's upload is a 404."""
    async with official(sandbox) as client, official(sandbox, "other") as other:
        for kind, size in (("audio", 10_000_000_001), ("image", 32_000_001)):
            with pytest.raises(ApiError) as caught:
                await client.multipart_upload.create(filename="a", type=kind, total_size=size)
            assert caught.value.status_code == 413
        upload = await client.multipart_upload.create(filename="a", type="audio", total_size=10)
        with pytest.raises(ApiError) as caught:
            [item async for item in await other.multipart_upload.get_status(upload.upload_id or "")]
        assert caught.value.status_code == 404
