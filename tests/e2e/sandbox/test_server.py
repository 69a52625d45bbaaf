"""Lifecycle of the server, and the headers of every reply."""

import asyncio
import time
from typing import Any

import pytest

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.sandbox.official import form, plain, post
from tests.support.media import wav

TYPE = "Content-Type: multipart/form-data; boundary=b"


async def test_lifecycle() -> None:
    """A sandbox binds a free port, answers at its base URL, stops, and can be started again."""
    sandbox = Sandbox()
    with pytest.raises(RuntimeError):
        _ = sandbox.base_url
    for _ in range(2):
        await sandbox.start()
        assert sandbox.base_url.startswith("http://127.0.0.1:")
        assert sandbox.base_url.endswith("/v1.3")
        assert (await post(sandbox, **form(text="x"))).status_code == 200
        with pytest.raises(RuntimeError):
            await sandbox.start()
        await sandbox.stop()
    await sandbox.stop()


async def test_port_in_use(sandbox: Sandbox) -> None:
    """A port in use is an OSError, after which the sandbox can still be started."""
    port = int(sandbox.base_url.split(":")[2].split("/")[0])
    other = Sandbox()
    with pytest.raises(OSError, match="address"):
        await other.start(port=port)
    async with other:
        assert (await post(other, **form(text="x"))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/embed"), ("POST", "/embed/tasks"), ("PUT", "/embed-v2"), ("POST", "/embed/")]
)
async def test_not_found(sandbox: Sandbox, method: str, path: str) -> None:
    """An unknown path or method is a 404 with the API's error body."""
    async with plain(sandbox) as http:
        reply = await http.request(method, path)

    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert reply.headers["Embedwire-Upstream"] == "sandbox"


async def test_headers_of_every_reply(sandbox: Sandbox) -> None:
    """A successful and a failed reply have the version, the upstream's name and the limits in both spellings."""
    good = await post(sandbox, **form(text="x"))
    bad = await post(sandbox, {"x-api-key": ""}, **form(text="x"))

    assert [good.status_code, bad.status_code] == [200, 401]
    for reply in (good, bad):
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["X-Api-Version"] == "v1.3"
        assert reply.headers["Embedwire-Upstream"] == "sandbox"
        assert int(reply.headers["X-Ratelimit-Remaining"]) > 900_000
        assert reply.headers["X-RateLimit-Request-Remaining"] == reply.headers["X-Ratelimit-Remaining"]
        assert 0 <= int(reply.headers["X-Ratelimit-Reset"]) - time.time() <= 62
        assert reply.headers["X-RateLimit-Request-Reset"] == reply.headers["X-Ratelimit-Reset"]
    assert good.headers["Content-Length"] == str(len(good.content))


async def test_order_of_the_checks() -> None:
    """The order is key, content type, rate limit, model."""
    async with Sandbox(SandboxOptions(requests_per_minute={"text": 1})) as sandbox:
        no_key = await post(sandbox, {"x-api-key": ""}, json={})
        no_form = await post(sandbox, json={})
        no_model = await post(sandbox, **form(model_name="", text=""))
        limited = await post(sandbox, **form(model_name="", text=""))

    codes = [reply.json()["code"] for reply in (no_key, no_form, no_model, limited)]
    assert codes == ["api_key_invalid", "content_type_invalid", "parameter_not_provided", "too_many_requests"]


async def test_journal(sandbox: Sandbox) -> None:
    """Every call of /embed is counted and recorded by its form, and no other request is."""
    await post(sandbox, **form(text="x"))
    await post(sandbox, json={})
    async with plain(sandbox) as http:
        await http.get("/elsewhere")

    assert sandbox.requests == 2
    assert [(visit.parts, visit.modalities, visit.status) for visit in sandbox.journal] == [
        (["model_name", "text"], ("text",), 200),
        ([], (), 400),
    ]


async def test_clients_that_disconnect(caplog: pytest.LogCaptureFixture) -> None:
    """A client that disconnects while it sends or reads leaves no error in the log."""
    sending = f"POST /v1.3/embed HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\n{TYPE}\r\nContent-Length: 999\r\n\r\n--b\r\n"
    async with Sandbox() as sandbox:
        host, port = sandbox.base_url.removeprefix("http://").removesuffix("/v1.3").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(sending.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        sound: dict[str, Any] = {"data": {"model_name": "marengo3.0"}, "files": {"audio_file": wav(300, rate=8000)}}
        async with plain(sandbox) as http, http.stream("POST", "/embed", **sound) as reply:
            assert reply.status_code == 200
        assert (await post(sandbox, **form(text="x"))).status_code == 200

    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
    assert [visit.status for visit in sandbox.journal] == [None, None, 200]


def test_key_is_not_in_repr() -> None:
    """The configured key is not in the repr of the options."""
    assert "tlk_secret" not in repr(SandboxOptions(api_key="tlk_secret"))
