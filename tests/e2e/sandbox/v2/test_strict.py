"""Requests that the v2 dialect rejects, and the shapes of its errors."""

from typing import Any

import pytest

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.sandbox.official import plain
from tests.e2e.sandbox.v2.clients import NEW, OLD, audio, encoded, image, multi, post_json, text
from tests.support.media import flac, png

URL = {"url": "http://127.0.0.1:9/x"}
CONTENT = {"base64_string": encoded(png())}
IMAGE = {"media_type": "image", **CONTENT}
AUDIO = {"media_type": "audio", "base64_string": encoded(flac(2))}

BAD: dict[str, tuple[Any, str]] = {
    "no object": ([], "JSON"),
    "no input type": ({"model_name": OLD, "text": {"input_text": "x"}}, "input_type"),
    "unknown input type": ({**text(), "input_type": "hologram"}, "input_type"),
    "no input": ({"input_type": "text", "model_name": OLD}, "text"),
    "null input": ({"input_type": "text", "model_name": OLD, "text": None}, "text"),
    "another input": ({"input_type": "audio", "model_name": OLD, "text": {"input_text": "x"}}, "text"),
    "two inputs": ({**text(), "image": {"media_source": URL}}, "image"),
    "unknown member": (text(text_truncate="end"), "text_truncate"),
    "unknown inner member": (
        {"input_type": "text", "model_name": OLD, "text": {"input_text": "x", "language": "en"}},
        "text.language",
    ),
    "unknown member with null": (text(user=None), "user"),
    "unknown model": (text(model_name="marengo9"), "model_name"),
    "Marengo 2.7": (text(model_name="Marengo-retrieval-2.7"), "model_name"),
    "empty text": (text(" "), "text.input_text"),
    "text of another type": ({"input_type": "text", "model_name": OLD, "text": {"input_text": 3}}, "text.input_text"),
    "no source": (image({}), "image.media_source"),
    "two sources": (image({**CONTENT, "asset_id": "1"}), "exactly one"),
    "empty source": (image({"url": ""}), "image.media_source.url"),
    "empty base64": (image({"base64_string": ""}), "image.media_source.base64_string"),
    "base64 of another type": (image({"base64_string": 3}), "image.media_source.base64_string"),
    "no base64": (image({"base64_string": "data:image/png;base64,AAAA"}), "base64"),
    "unknown member of a source": (image({**URL, "file_name": "x"}), "image.media_source.file_name"),
    "unreachable": (image(URL), "image.media_source.url"),
    "no image": (image({"base64_string": encoded(b"nothing")}), "image.media_source.base64_string"),
    "truncation with 3.0": (text(auto_truncate=False), "auto_truncate"),
    "uncertainty with 3.0": (text(embedding_uncertainty=True), "embedding_uncertainty"),
    "dimension with 3.0": (text(embedding_dimension=512), "embedding_dimension"),
    "unknown dimension": (multi("x", embedding_dimension=64), "embedding_dimension"),
    "dimension as text": (multi("x", embedding_dimension="128"), "embedding_dimension"),
    "text with 3.5": (text(model_name=NEW), "multi_input"),
    "audio with 3.5": (audio(URL, NEW), "multi_input"),
    "video": ({"input_type": "video", "model_name": OLD, "video": {"media_source": URL}}, "video"),
    "negative start": (audio(URL, start_sec=-1), "audio.start_sec"),
    "end before start": (audio(URL, start_sec=5, end_sec=5), "audio.end_sec"),
    "start beyond the end": (audio({"base64_string": encoded(flac(2))}, start_sec=2), "audio.start_sec"),
    "start as text": (audio(URL, start_sec="1"), "audio.start_sec"),
    "dynamic with 3.0": (audio(URL, segmentation={"strategy": "dynamic", "dynamic": {"min_duration_sec": 4}}), "fixed"),
    "no strategy": (audio(URL, segmentation={"fixed": {"duration_sec": 6}}), "strategy"),
    "no duration": (audio(URL, segmentation={"strategy": "fixed"}), "segmentation.fixed"),
    "long window": (audio(URL, segmentation={"strategy": "fixed", "fixed": {"duration_sec": 11}}), "duration_sec"),
    "temporal": (audio(URL, segmentation={"temporal": {}}), "strategy"),
    "unknown option": (audio(URL, embedding_option=["visual"]), "embedding_option"),
    "no option": (audio(URL, embedding_option=[]), "embedding_option"),
    "option twice": (audio(URL, embedding_option=["audio", "audio"]), "embedding_option"),
    "unknown scope": (audio(URL, embedding_scope=["local"]), "embedding_scope"),
    "type with one option": (
        audio(URL, embedding_option=["audio"], embedding_type=["separate_embedding"]),
        "embedding_type",
    ),
    "texts in a sync call": (audio(URL, time_based_metadata=[]), "time_based_metadata"),
    "no content": (multi(), "multi_input"),
    "eleven sources": (multi("x", *[IMAGE] * 11), "10"),
    "two kinds without text": (multi(None, IMAGE, AUDIO), "input_text"),
    "unknown name": (multi("<@a> and <@b>", {**IMAGE, "name": "a"}), "input_text"),
    "name twice": (multi("x", {**IMAGE, "name": "a"}, {**IMAGE, "name": "a"}), "name"),
    "no media type": (multi("x", CONTENT), "media_type"),
    "audio with 3.0": (multi("x", AUDIO, model=OLD), "media_type"),
    "uncertainty of text and media": (multi("x", IMAGE, embedding_uncertainty=True), "embedding_uncertainty"),
    "document": (multi(None, {"media_type": "document", **URL}), "document"),
}


@pytest.mark.parametrize("case", BAD)
async def test_rejected(sandbox: Sandbox, case: str) -> None:
    """Wrong parameters are a 400 whose message names the parameter."""
    body, named = BAD[case]
    reply = await post_json(sandbox, "/embed-v2", body)

    assert reply.status_code == 400
    assert reply.json()["code"].startswith("parameter_")
    assert named in reply.json()["message"]


@pytest.mark.parametrize("name", ["end_sec", "segmentation", "embedding_option"])
async def test_null(sandbox: Sandbox, name: str) -> None:
    """A member that is null counts as absent, since the SDK sends `None` like this."""
    members: dict[str, Any] = {name: None}
    reply = await post_json(sandbox, "/embed-v2", audio({"base64_string": encoded(flac(2))}, **members))
    assert reply.status_code == 200


async def test_default_model(sandbox: Sandbox) -> None:
    """Without a model name, the model is Marengo 3.0."""
    body = text()
    del body["model_name"]
    assert (await post_json(sandbox, "/embed-v2", body)).json() == (
        await post_json(sandbox, "/embed-v2", text())
    ).json()


async def test_nested_errors() -> None:
    """An option gives v2 the nested shape of errors; v1 keeps the flat one."""
    async with Sandbox(SandboxOptions(nested_errors=True)) as sandbox, plain(sandbox) as http:
        nested = await http.post("/embed-v2", json=text(" "))
        flat = await http.post("/embed", files={"model_name": (None, "marengo3.0")})

    assert nested.json()["error"]["code"] == "VALIDATION_ERROR"
    assert flat.json()["code"] == "parameter_not_provided"


@pytest.mark.parametrize(
    ("path", "body"), [("/embed-v2", text()), ("/embed-v2/tasks", audio(URL)), ("/assets/multipart-uploads", {})]
)
async def test_too_large_body(path: str, body: dict[str, Any]) -> None:
    """A body over the limit is a nested 413, whether its length is declared or not."""
    async with Sandbox(SandboxOptions(max_body_bytes=20, max_field_bytes=1)) as sandbox:
        reply = await post_json(sandbox, path, {**body, "x": "x" * 100})

    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "CONTENT_TOO_LARGE"


async def test_headers(sandbox: Sandbox) -> None:
    """Every reply has a trace id of its own; embedding calls have rate limits by dimension, also if rejected."""
    async with plain(sandbox) as http:
        rejected = await http.post("/embed-v2", json=audio(URL, start_sec=-1))
        accepted = await http.post("/embed-v2", json=text())
        polled = await http.get("/embed-v2/tasks/1")
        unrouted = await http.get("/nowhere")

    replies = [rejected, accepted, polled, unrouted]
    assert len({reply.headers["x-trace-id"] for reply in replies}) == 4
    assert {reply.headers["X-Api-Version"] for reply in replies} == {"v1.3"}
    assert rejected.headers["x-ratelimit-dimensions"] == "Duration,Request"
    assert rejected.headers["x-ratelimit-duration-limit"] == "36000"
    assert accepted.headers["x-ratelimit-dimensions"] == "Request"
    assert "x-ratelimit-limit" not in polled.headers


async def test_rate_limit() -> None:
    """A limit of a modality counts calls of both dialects and tasks; its 429 may be empty."""
    options = SandboxOptions(requests_per_minute={"audio": 2}, empty_429=True)
    async with Sandbox(options) as sandbox, plain(sandbox) as http:
        await http.post("/embed", files={"model_name": (None, "marengo3.0"), "audio_file": ("a", flac(2))})
        task = await http.post("/embed-v2/tasks", json=audio(URL))
        limited = await http.post("/embed-v2", json=multi("x", AUDIO))
        other = await http.post("/embed-v2", json=text())

    assert [task.status_code, limited.status_code, other.status_code] == [202, 429, 200]
    assert (limited.content, "Retry-After" in limited.headers) == (b"", True)


@pytest.mark.parametrize("path", ["/embed-v2", "/embed-v2/tasks", "/assets", "/assets/1", "/assets/multipart-uploads"])
async def test_key(path: str) -> None:
    """Every operation needs the key."""
    async with Sandbox(SandboxOptions(api_key="right")) as sandbox, plain(sandbox) as http:
        reply = await http.request("GET" if path == "/assets/1" else "POST", path)

    assert (reply.status_code, reply.json()["code"]) == (401, "api_key_invalid")


async def test_versions() -> None:
    """Each dialect can be switched off: its paths are then unknown."""
    async with Sandbox(SandboxOptions(disable_v1=True)) as sandbox, plain(sandbox) as http:
        gone = await http.post("/embed", files={"model_name": (None, OLD), "text": (None, "x")})
        kept = await http.post("/embed-v2", json=text())
    assert (gone.status_code, gone.json()["code"], kept.status_code) == (404, "not_found", 200)
    async with Sandbox(SandboxOptions(disable_v2=True)) as sandbox, plain(sandbox) as http:
        kept = await http.post("/embed", files={"model_name": (None, OLD), "text": (None, "x")})
        statuses = [(await http.post(path, json=text())).status_code for path in ("/embed-v2", "/assets")]
    assert (kept.status_code, statuses) == (200, [404, 404])
