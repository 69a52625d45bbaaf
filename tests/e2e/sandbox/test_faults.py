"""Scripted faults, in process and over HTTP."""

import json
import time
from typing import Any

import httpx
import pytest

from embedwire_sandbox import Fault, FaultScript, Sandbox, SandboxOptions
from embedwire_sandbox.models import Modality
from tests.e2e.sandbox.official import create_async, form, plain, post
from tests.support.media import png, wav

AUDIO: dict[str, Any] = {
    "data": {"model_name": "marengo3.0", "text": "x"},
    "files": {"audio_file": ("a.wav", wav(8, rate=8000))},
}


async def test_status(sandbox: Sandbox) -> None:
    """A status fault comes with its body and headers, and the headers of every reply."""
    sandbox.faults.add(
        Fault("status", status=429, headers={"Retry-After": "2"}, body=""),
        Fault("status", status=500, body="<h1>Oops</h1>", content_type="text/html"),
        Fault("status"),
    )
    empty, html, plain_503, good = [await post(sandbox, **form(text="x")) for _ in range(4)]

    assert (empty.status_code, empty.content, empty.headers["Retry-After"]) == (429, b"", "2")
    assert (html.status_code, html.text, html.headers["Content-Type"]) == (500, "<h1>Oops</h1>", "text/html")
    assert (plain_503.status_code, plain_503.json()["code"]) == (503, "internal_server_error")
    assert html.headers["Embedwire-Upstream"] == "sandbox"
    assert good.status_code == 200
    assert [visit.fault for visit in sandbox.journal] == ["status", "status", "status", None]


async def test_delay(sandbox: Sandbox) -> None:
    """A delay precedes the headers of a good reply."""
    sandbox.faults.add(Fault("delay", delay_sec=0.2))
    started = time.monotonic()
    async with plain(sandbox) as http, http.stream("POST", "/embed", **form(text="x")) as reply:
        assert time.monotonic() - started >= 0.2
        assert (await reply.aread())[:1] == b"{"


@pytest.mark.parametrize("after_bytes", [0, 300, 9000])
async def test_trickle(sandbox: Sandbox, after_bytes: int) -> None:
    """A trickle pauses in the middle of the body, which arrives complete; beyond its end there is no pause."""
    pause = 2 if after_bytes < 9000 else 600  # a pause beyond the end would show on any machine
    sandbox.faults.add(Fault("trickle", after_bytes=after_bytes, pause_sec=pause))
    arrivals = []
    started = time.monotonic()
    async with plain(sandbox) as http, http.stream("POST", "/embed", **form(text="x")) as reply:
        content = b""
        async for chunk in reply.aiter_bytes():
            content += chunk
            arrivals.append((time.monotonic() - started, len(content)))

    assert json.loads(content)["model_name"] == "marengo3.0"
    assert after_bytes >= len(content) or arrivals[-1][0] >= 1.9
    assert after_bytes != 300 or arrivals[0][1] == 300


async def collect(reply: httpx.Response, chunks: list[bytes]) -> None:
    async for chunk in reply.aiter_bytes():
        chunks.append(chunk)  # noqa: PERF401  # pieces before the error count


@pytest.mark.parametrize("after_bytes", [0, 1, 500])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_cut(sandbox: Sandbox, after_bytes: int, chunked: bool) -> None:  # noqa: FBT001
    """A cut ends the connection after exactly that many bytes of the body."""
    sandbox.faults.add(Fault("cut", after_bytes=after_bytes))
    chunks: list[bytes] = []
    async with plain(sandbox) as http, http.stream("POST", "/embed", **(AUDIO if chunked else form(text="x"))) as reply:
        with pytest.raises(httpx.RemoteProtocolError):
            await collect(reply, chunks)

    assert (200, after_bytes) == (reply.status_code, len(b"".join(chunks)))


@pytest.mark.parametrize("before_body", [False, True])
@pytest.mark.parametrize(("kind", "error"), [("reset", httpx.ReadError), ("close", httpx.TransportError)])
async def test_no_answer(sandbox: Sandbox, kind: Any, error: type[Exception], before_body: bool) -> None:  # noqa: FBT001
    """A reset and a close end the connection without a byte, before or after the request is read."""
    sandbox.faults.add(Fault(kind, before_body=before_body))
    with pytest.raises(error):
        await post(sandbox, **form(text="x"))

    assert (sandbox.requests, sandbox.journal[0].status) == (1, None)
    assert (["model_name", "text"], [])[before_body] == sandbox.journal[0].parts
    assert (await post(sandbox, **form(text="x"))).status_code == 200


@pytest.mark.parametrize("after_bytes", [0, 5, 20, 400])
async def test_malformed(sandbox: Sandbox, after_bytes: int) -> None:
    """A malformed reply is invalid JSON, wherever it is corrupted."""
    sandbox.faults.add(Fault("malformed_json", after_bytes=after_bytes))
    reply = await post(sandbox, **form(text="x"))

    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


async def test_content(sandbox: Sandbox) -> None:
    """Content faults corrupt their part of the reply, and only for their modality."""
    sandbox.faults.add(
        Fault("no_model_name"),
        Fault("no_segments", modality="audio"),
        Fault("modality_error", modality="audio", message="No."),
        Fault("wrong_dimensions", modality="text"),
    )
    nameless, missing, failed, short = [(await post(sandbox, **AUDIO)).json() for _ in range(4)]

    assert list(nameless) == ["text_embedding", "audio_embedding"]
    assert missing["audio_embedding"] == {"metadata": {"input_filename": "a.wav"}}
    assert (failed["audio_embedding"]["segments"], failed["audio_embedding"]["error_message"]) == ([], "No.")
    assert len(missing["text_embedding"]["segments"]) == len(failed["text_embedding"]["segments"]) == 1
    assert len(short["text_embedding"]["segments"][0]["float"]) == 511
    assert len(short["audio_embedding"]["segments"][0]["float"]) == 512


async def test_numbers(sandbox: Sandbox) -> None:
    """NaN and too large numbers are in the reply in the notation of a broken service."""
    sandbox.faults.add(Fault("nan"), Fault("overflow"))
    nan, overflow = [(await post(sandbox, **form(text="x"))).text for _ in range(2)]

    assert '"float":[NaN,' in nan
    assert '"float":[1e400,' in overflow


async def test_sdk_reads_faults(sandbox: Sandbox) -> None:
    """The official SDK reads a corrupted reply as it would read the service's."""
    sandbox.faults.add(Fault("modality_error", modality="image", message="Image file is not valid."))
    reply = await create_async(sandbox, model_name="marengo3.0", text="x", image_file=png())

    assert reply.image_embedding
    assert reply.image_embedding.error_message == "Image file is not valid."


def test_script() -> None:
    """A call uses up one count of the first fault that matches it."""
    script = FaultScript()
    audio, twice, always = Fault("nan", modality="audio"), Fault("delay", times=2), Fault("cut", times=None)
    script.add(audio, twice)
    script.add(always)

    calls: list[list[Modality]] = [["text"], ["text", "audio"], [], ["audio"], ["text"]]
    taken = [script.take("embed", modalities) for modalities in calls]
    assert [twice, audio, twice, always, always] == taken
    assert [(always, None)] == script.pending
    script.clear()
    assert script.take("embed", ["text"]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "explode"},
        {"kind": "delay", "modality": "video"},
        {"kind": "delay", "times": 0},
        {"kind": "delay", "delay_sec": -1},
        {"kind": "status", "status": 99},
        {"kind": "cut", "after_bytes": -1},
        {"kind": "cut", "before_body": True},
        {"kind": "reset", "before_body": True, "modality": "text"},
        {"kind": "status", "status": "503"},
        {"kind": "status", "headers": {"Retry-After": 2}},
        {"kind": "delay", "colour": "blue"},
        {"times": 1},
        "reset",
    ],
    ids=str,
)
async def test_wrong_faults_over_http(sandbox: Sandbox, wrong: Any) -> None:
    """An invalid fault is a 400, and the list is not changed."""
    sandbox.faults.add(Fault("nan"))
    url = sandbox.base_url.replace("/v1.3", "/sandbox/faults")
    async with plain(sandbox) as http:
        reply = await http.put(url, json={"faults": [{"kind": "cut"}, wrong]})

    assert (reply.status_code, reply.json()["code"]) == (400, "parameter_invalid")
    assert [fault.kind for fault, _ in sandbox.faults.pending] == ["nan"]


async def test_control(sandbox: Sandbox) -> None:
    """Faults can be added, listed with their remaining counts, and deleted over HTTP."""
    url = sandbox.base_url.replace("/v1.3", "/sandbox/faults")
    async with plain(sandbox) as http:
        put = await http.put(url, json={"faults": [{"kind": "status", "status": 502, "times": 3, "modality": "text"}]})
        limited = await post(sandbox, **form(text="x"))
        seen = await http.get(url)
        again = await http.put(url, json=seen.json())
        deleted = await http.delete(url)
        bad = [await http.put(url, content=content) for content in (b"", b"[]", b'{"faults": 3}', b"\xff")]

    assert limited.status_code == 502
    assert [reply.json()["faults"][0]["times"] for reply in (put, seen)] == [3, 2]
    assert seen.json() == again.json()
    assert (deleted.json()["faults"], deleted.json()["requests"]) == ([], 1)
    assert deleted.json()["operations"]["embed"] == 1
    assert [reply.status_code for reply in bad] == [400] * 4


async def test_latency() -> None:
    """The latency option delays every embedding call."""
    async with Sandbox(SandboxOptions(latency_sec=0.1)) as sandbox:
        started = time.monotonic()
        await post(sandbox, **form(text="x"))
        assert time.monotonic() - started >= 0.1


async def test_stop_ends_a_delay() -> None:
    """Stopping the sandbox ends a scripted delay."""
    async with Sandbox() as sandbox:
        sandbox.faults.add(Fault("trickle", after_bytes=10, pause_sec=60))
        async with plain(sandbox) as http, http.stream("POST", "/embed", **form(text="x")):
            started = time.monotonic()
            await sandbox.stop()
    assert time.monotonic() - started < 30
