"""Replies that the official SDK cannot parse; the sandbox gives none of them by default.

Each case is from a recording of `twelvelabs` 1.3.6 that ended in a `ValidationError` of pydantic.
"""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pydantic
import pytest
from twelvelabs import AsyncTwelveLabs
from twelvelabs.errors import ContentTooLargeError

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.sandbox.official import plain
from tests.e2e.sandbox.v2.clients import NEW, audio, encoded, image, multi, official, post_json, text
from tests.support.media import flac, png

ITEM = {
    "embedding": [0.25, -0.5],
    "embedding_option": None,
    "embedding_scope": None,
    "start_sec": None,
    "end_sec": None,
}
MEDIA = {"input_type": "audio", "embedding_options": ["audio"], "embedding_scopes": ["clip"]}
FLAT = {"code": "parameter_invalid", "message": "m", "docs_url": "u"}

UNPARSABLE: dict[str, tuple[int, Any]] = {
    "metadata of text": (200, {"data": [ITEM], "metadata": {"input_type": "text"}}),
    "metadata of an unknown type": (200, {"data": [ITEM], "metadata": {"input_type": "hologram"}}),
    "usage without truncated": (200, {"data": [ITEM], "usage": {"input_tokens": {"text": 3}}}),
    "audio without duration": (200, {"data": [ITEM], "metadata": MEDIA}),
    "data null": (200, {"data": None}),
    "data missing": (200, {"metadata": None}),
    "embedding null": (200, {"data": [{"embedding": None}]}),
    "null in embedding": (200, {"data": [{"embedding": [0.1, None]}]}),
    "embedding by its name in v1": (200, {"data": [{"float": [0.25]}]}),
    "413 flat": (413, FLAT),
    "413 null": (413, None),
    "413 without message": (413, {"error": {"code": "X"}}),
}


def is_unparsable(status: int, document: Any) -> bool:
    """Whether a reply is like one of the recorded ones."""
    if status == 413:
        error = document.get("error") if isinstance(document, dict) else None
        return not isinstance(error, dict) or not {"code", "message"} <= error.keys()
    data, metadata, usage = document.get("data"), document.get("metadata"), document.get("usage")
    return (
        not isinstance(data, list)
        or not all(isinstance(value, float | int) for item in data for value in item.get("embedding") or [None])
        or (metadata is not None and metadata["input_type"] not in {"image", "text_image", "audio", "multi_input"})
        or (metadata is not None and metadata["input_type"] == "audio" and "duration" not in metadata)
        or (usage is not None and "truncated" not in usage)
    )


@pytest.mark.parametrize("case", UNPARSABLE)
async def test_unparsable(case: str) -> None:
    """The SDK still cannot parse the recorded replies, and the check below finds each of them."""
    status, document = UNPARSABLE[case]
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=json.dumps(document)))
    async with httpx.AsyncClient(transport=transport) as http:
        client = AsyncTwelveLabs(api_key="k", base_url="http://127.0.0.1", httpx_client=http)
        with pytest.raises(pydantic.ValidationError):
            await client.embed.v_2.create(**text())
    assert is_unparsable(status, document)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "text": text,
    "image": lambda: image({"base64_string": encoded(png())}),
    "text_image": lambda: {
        "input_type": "text_image",
        "model_name": "marengo3.0",
        "text_image": {"input_text": "x", "media_source": {"base64_string": encoded(png())}},
    },
    "audio": lambda: audio({"base64_string": encoded(flac(7))}, embedding_type=["fused_embedding"]),
    "newer text": lambda: multi("x", embedding_uncertainty=True),
    "newer image": lambda: multi(None, {"media_type": "image", "base64_string": encoded(png())}),
    "newer audio": lambda: multi(None, {"media_type": "audio", "base64_string": encoded(flac(2))}),
    "older images": lambda: multi("x", {"media_type": "image", "base64_string": encoded(png())}, model="marengo3.0"),
}


@pytest.mark.parametrize("case", CALLS)
async def test_parsable(sandbox: Sandbox, case: str) -> None:
    """The SDK parses the reply to each kind of call."""
    body = CALLS[case]()
    reply = await post_json(sandbox, "/embed-v2", body)
    async with official(sandbox) as client:
        await client.embed.v_2.create(**body)

    assert reply.status_code == 200
    assert not is_unparsable(200, reply.json())
    assert "model_name" not in reply.json()


async def test_parsable_413() -> None:
    """The SDK parses a 413."""
    async with Sandbox(SandboxOptions(max_body_bytes=10)) as sandbox, official(sandbox) as client:
        with pytest.raises(ContentTooLargeError):
            await client.embed.v_2.create(**text())


async def test_tasks(sandbox: Sandbox) -> None:
    """A task never has metadata without a duration, whatever its status is."""
    documents = []
    async with plain(sandbox) as http:
        for model in ("marengo3.0", NEW):
            created = await http.post("/embed-v2/tasks", json=audio({"base64_string": encoded(flac(5))}, model))
            documents += [(await http.get(f"/embed-v2/tasks/{created.json()['_id']}")).json() for _ in range(2)]

    assert [document["status"] for document in documents] == ["processing", "ready"] * 2
    assert ["metadata" in document for document in documents] == [False, True] * 2
    assert not any(is_unparsable(200, document) for document in documents[1::2])
