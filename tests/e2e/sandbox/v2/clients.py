"""The official SDK, connected to a sandbox, and JSON requests that the SDK cannot send."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from twelvelabs import AsyncTwelveLabs

from embedwire_sandbox import Sandbox
from tests.e2e.sandbox.official import KEY, plain

OLD, NEW = "marengo3.0", "marengo3.5"


@asynccontextmanager
async def official(sandbox: Sandbox, key: str = KEY) -> AsyncIterator[AsyncTwelveLabs]:
    """The async client of the SDK."""
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=60) as http:
        yield AsyncTwelveLabs(api_key=key, base_url=sandbox.base_url, httpx_client=http)


async def post_json(sandbox: Sandbox, path: str, body: Any) -> httpx.Response:
    """Post a JSON document once."""
    async with plain(sandbox) as http:
        return await http.post(path, json=body)


def encoded(content: bytes | bytearray) -> str:
    """Content as base64."""
    return base64.b64encode(content).decode()


def text(value: str = "a fox", **more: Any) -> dict[str, Any]:
    """A call for the text with Marengo 3.0."""
    return {"input_type": "text", "model_name": OLD, "text": {"input_text": value}, **more}


def image(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A call for an image with Marengo 3.0."""
    return {"input_type": "image", "model_name": OLD, "image": {"media_source": source}, **more}


def audio(source: dict[str, Any], model: str = OLD, **members: Any) -> dict[str, Any]:
    """A call for audio; further members belong to its object."""
    return {"input_type": "audio", "model_name": model, "audio": {"media_source": source, **members}}


def multi(value: str | None = None, *sources: dict[str, Any], model: str = NEW, **more: Any) -> dict[str, Any]:
    """A call for a text, if there is one, with media sources."""
    given: dict[str, Any] = {} if value is None else {"input_text": value}
    if sources:
        given["media_sources"] = list(sources)
    return {"input_type": "multi_input", "model_name": model, "multi_input": given, **more}
