"""Behaviour of the drop-in that cannot be compared with the SDK: results, clients and keys."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import twelvelabs

from embedwire.twelvelabs import AsyncTwelveLabs, BadRequestError, TwelveLabs
from embedwire_sandbox import Sandbox
from tests.e2e.dropin.calls import NEW, create
from tests.e2e.sandbox.official import create_sync
from tests.support.media import flac, png
from tests.support.serving import Scripted, Served, serving
from tests.support.upstreams import Visit, reply


def example(client: Any, model: str, audio_url: str, image_url: str) -> list[str]:
    """The code of the SDK's documentation page, after one call with all three inputs."""
    lines: list[str] = []

    def show(segments: Any, most: int = 5) -> None:
        for each in segments:
            if hasattr(each, "start_offset_sec"):
                lines.append(f"start_offset_sec={each.start_offset_sec}")
            lines.append(f"embeddings: {[round(number, 6) for number in each.float_[:most]]}")

    res = client.embed.create(
        model_name=model, text="a red fox", audio_url=audio_url, image_url=image_url, audio_start_offset_sec=10.0
    )
    for name in ("text_embedding", "image_embedding", "audio_embedding"):
        if hasattr(res, name) and getattr(res, name).segments:
            lines.append(name)
            show(getattr(res, name).segments)
    return lines


async def test_the_example_of_the_sdk(media_files: str) -> None:
    """The example of the SDK's documentation prints the same lines; only the import and the constructor differ."""
    async with Sandbox() as sandbox, serving(upstream=sandbox.base_url, api_key="k") as served:
        with httpx.Client(timeout=60) as http, TwelveLabs(target=served.app.target) as ours:
            official = twelvelabs.TwelveLabs(api_key="k", base_url=sandbox.base_url, httpx_client=http)
            urls = (f"{media_files}/melody.flac", f"{media_files}/picture.png")
            found, expected = [await asyncio.to_thread(example, each, NEW, *urls) for each in (ours, official)]

    assert found == expected
    assert found.count("start_offset_sec=10.0") == 2
    assert found[0] == "text_embedding"


async def test_methods_of_results() -> None:
    """`model_dump` and `json` have the SDK's keys and values; results are frozen, comparable, and show no vectors."""
    async with Sandbox() as sandbox, serving(upstream=sandbox.base_url, api_key="test") as served:
        arguments: dict[str, Any] = {"text": "x", "audio_file": flac(7), "image_file": png()}
        expected = await create_sync(sandbox, model_name=NEW, **arguments)
        found = await create(served, **arguments)
        again = await create(served, **arguments)

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shape(item) for name, item in value.items()}
        if isinstance(value, list):
            return len(value) if value and isinstance(value[0], float) else [shape(item) for item in value]
        return value

    assert shape(found.model_dump()) == shape(expected.model_dump())
    assert shape(json.loads(found.json())) == shape(json.loads(expected.json()))
    assert shape(json.loads(found.model_dump_json())) == shape(json.loads(expected.model_dump_json()))
    assert found == again
    assert found != type(found)("another model", found.text_embedding)
    with pytest.raises(AttributeError):
        found.model_name = "other"
    assert "0." not in repr(found.text_embedding)


async def test_one_async_client_in_several_loops(served: Served) -> None:
    """A client at module level serves several `asyncio.run` one after the other."""
    client = AsyncTwelveLabs(target=served.app.target)

    async def run() -> str:
        return (await client.embed.create(NEW, text="x")).model_name

    for _ in range(2):
        assert await asyncio.to_thread(asyncio.run, run()) == NEW


async def test_api_key(scripted: Scripted) -> None:
    """An API key is used where the server accepts callers' keys, and rejected with an explanation elsewhere."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply())

    async with scripted(script, auth_allow_caller_api_keys=True, api_key="servers") as (served, upstream):
        await create(served, text="x", api_key="mine")
        await create(served, text="x")
    async with scripted(script) as (served, _):
        with pytest.raises(BadRequestError) as caught:
            await create(served, text="x", api_key="mine")

    assert [visit.headers["x-api-key"] for visit in upstream.visits] == ["mine", "servers"]
    assert caught.value.body["message"].startswith(
        "The api_key parameter is invalid. This server does not accept upstream API keys"
    )


def test_a_key_is_not_sent_in_plain_text_over_a_network() -> None:
    """An API key to a host other than loopback requires TLS."""
    with pytest.raises(ValueError, match="plaintext"):
        TwelveLabs(api_key="mine", target="embed.example:50051")
