"""Faults by operation, the journal, and the state for tests."""

from typing import Any

import httpx
import pytest

from embedwire_sandbox import Fault, Sandbox
from embedwire_sandbox.calls import OPERATIONS
from tests.e2e.sandbox.official import plain
from tests.e2e.sandbox.v2.clients import audio, encoded, official, post_json, text
from tests.support.media import flac, wav

TASKS = "/embed-v2/tasks"
TASK = audio({"base64_string": encoded(flac(5))})


async def test_share_of_polls(sandbox: Sandbox) -> None:
    """A fault can hit every n-th poll and no other call; all calls are counted by operation."""
    sandbox.faults.add(Fault("status", operation="task_poll", every=5, times=None))
    async with plain(sandbox) as http:
        task_id = (await http.post(TASKS, json=TASK)).json()["_id"]
        statuses = [(await http.get(f"{TASKS}/{task_id}")).status_code for _ in range(10)]

    assert statuses == [200, 200, 200, 200, 503] * 2
    assert {name: count for name, count in sandbox.operations.items() if count} == {"task_create": 1, "task_poll": 10}
    assert set(sandbox.operations) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "send"),
    [
        ("task_create", lambda http: http.post(TASKS, json=TASK)),
        ("asset_create", lambda http: http.post("/assets", data={"method": "direct"}, files={"file": wav(1)})),
    ],
)
async def test_lost_reply(sandbox: Sandbox, operation: Any, send: Any) -> None:
    """A creation whose reply is lost has had its effect."""
    sandbox.faults.add(Fault("lost_reply", operation=operation))
    async with plain(sandbox) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await send(http)

    assert len(sandbox.tasks) + len(sandbox.assets) == 1
    assert (sandbox.journal[0].operation, sandbox.journal[0].fault) == (operation, "lost_reply")
    assert sandbox.journal[0].status is None


async def test_lost_deletion(sandbox: Sandbox) -> None:
    """A deletion whose reply is lost has had its effect; the next one is a 404."""
    async with plain(sandbox) as http:
        created = await http.post("/assets", data={"method": "direct"}, files={"file": wav(1)})
        sandbox.faults.add(Fault("lost_reply", operation="asset_delete"))
        path = f"/assets/{created.json()['_id']}"
        with pytest.raises(httpx.RemoteProtocolError):
            await http.delete(path)
        assert (await http.delete(path)).status_code == 404


async def test_held_reply(sandbox: Sandbox) -> None:
    """A reply that is held comes after a client has given up; the task exists."""
    sandbox.faults.add(Fault("hold", operation="task_create", pause_sec=60))
    async with plain(sandbox) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(TASKS, json=TASK, timeout=httpx.Timeout(60, read=3))

    assert len(sandbox.tasks) == 1


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (Fault("no_segments"), lambda reply: "data" not in reply.json()),
        (Fault("wrong_dimensions"), lambda reply: len(reply.json()["data"][0]["embedding"]) == 511),
        (Fault("nan"), lambda reply: reply.content.startswith(b'{"data":[{"embedding":[NaN,')),
        (Fault("overflow"), lambda reply: reply.content.startswith(b'{"data":[{"embedding":[1e400,')),
        (Fault("malformed_json", after_bytes=3), lambda reply: b"\x01" in reply.content),
        (Fault("status", status=413), lambda reply: reply.json()["error"]["code"] == "CONTENT_TOO_LARGE"),
        (Fault("status", status=429, body="", before_body=True), lambda reply: reply.status_code == 429),
        (Fault("trickle", after_bytes=3), lambda reply: len(reply.json()["data"]) == 1),
        (Fault("no_model_name"), lambda reply: len(reply.json()["data"]) == 1),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_kinds(sandbox: Sandbox, fault: Fault, check: Any) -> None:
    """The kinds of faults of v1 also apply to v2."""
    sandbox.faults.add(fault)
    assert check(await post_json(sandbox, "/embed-v2", text()))


@pytest.mark.parametrize("kind", ["reset", "close", "cut"])
async def test_connection_faults(sandbox: Sandbox, kind: Any) -> None:
    """Connections of v2 can be reset, closed and cut."""
    sandbox.faults.add(Fault(kind, operation="embed_v2"))
    with pytest.raises(httpx.TransportError):
        await post_json(sandbox, "/embed-v2", text())


async def test_lost_chunk(sandbox: Sandbox) -> None:
    """A chunk that fails can be sent again to the same URL."""
    body = {"filename": "a.wav", "type": "audio", "total_size": 10}
    url = (await post_json(sandbox, "/assets/multipart-uploads", body)).json()["upload_urls"][0]["url"]
    sandbox.faults.add(Fault("status", operation="chunk"))
    async with httpx.AsyncClient(verify=False, trust_env=False) as http:
        statuses = [(await http.put(url, content=bytes(10))).status_code for _ in range(2)]

    assert statuses == [503, 200]


async def test_journal(sandbox: Sandbox) -> None:
    """The journal has operation, method, resource and members of each call."""
    async with official(sandbox) as client:
        asset = await client.assets.create(method="direct", file=wav(1))
        await client.assets.retrieve(asset.id or "")
        task = (await post_json(sandbox, TASKS, TASK)).json()
        await client.assets.delete(asset.id or "")

    entries = [(entry.operation, entry.method, entry.resource_id, entry.status) for entry in sandbox.journal]
    assert entries == [
        ("asset_create", "POST", asset.id, 201),
        ("asset_poll", "GET", asset.id, 200),
        ("task_create", "POST", task["_id"], 202),
        ("asset_delete", "DELETE", asset.id, 204),
    ]
    assert sandbox.journal[0].parts == ["method", "file"]
    assert sandbox.journal[2].parts == ["input_type", "model_name", "audio"]
    assert sandbox.journal[2].modalities == ("audio",)


async def test_state(sandbox: Sandbox) -> None:
    """The HTTP interface has the assets, tasks and uploads of all keys, and counts the operations."""
    url = sandbox.base_url.replace("/v1.3", "/sandbox/state")
    async with official(sandbox, "other") as client, plain(sandbox) as http:
        asset = await client.assets.create(method="direct", file=wav(1), filename="a.wav")
        task = (await http.post(TASKS, json=TASK)).json()
        upload = await client.multipart_upload.create(filename="b", type="audio", total_size=10)
        state = (await http.get(url)).json()

    assert state["assets"] == [{"id": asset.id, "filename": "a.wav", "method": "direct", "status": "processing"}]
    assert state["tasks"] == [{"id": task["_id"], "model_name": "marengo3.0", "status": "processing", "asset_id": None}]
    assert [found["upload_id"] for found in state["uploads"]] == [upload.upload_id]
    assert (state["operations"]["task_create"], state["operations"]["task_poll"]) == (1, 0)


async def test_control(sandbox: Sandbox) -> None:
    """Faults by operation can be scripted over HTTP; unknown operations are rejected."""
    url = sandbox.base_url.replace("/v1.3", "/sandbox/faults")
    async with plain(sandbox) as http:
        wrong = [
            await http.put(url, json={"faults": [{"kind": "status", **bad}]})
            for bad in ({"operation": "poll"}, {"every": 0}, {"operation": 3})
        ]
        fault = {"kind": "status", "operation": "task_list", "status": 500}
        await http.put(url, json={"faults": [fault]})
        reply = await http.get(TASKS)

    assert [item.status_code for item in wrong] == [400] * 3
    assert reply.status_code == 500
