"""Synchronous calls of the v2 dialect, with the official SDK."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from twelvelabs import (
    AudioInputRequest,
    ImageInputRequest,
    MediaSource,
    MultiInputMediaSource,
    MultiInputRequest,
    TextInputRequest,
)
from twelvelabs.errors import BadRequestError, ContentTooLargeError

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.sandbox.v2.clients import NEW, OLD, audio, encoded, multi, official, post_json, text
from tests.support.media import flac, png, wav

LONG = "word " * 2_001


async def embed(sandbox: Sandbox, **arguments: Any) -> Any:
    async with official(sandbox) as client:
        return await client.embed.v_2.create(**arguments)


async def multi_input(sandbox: Sandbox, value: str | None = None, *sources: MultiInputMediaSource, **more: Any) -> Any:
    given = MultiInputRequest(input_text=value, media_sources=list(sources) or None)
    return await embed(sandbox, input_type="multi_input", model_name=NEW, multi_input=given, **more)


async def test_text(sandbox: Sandbox) -> None:
    """Text gets one vector with null option, scope and times, and neither metadata, usage nor a model name."""
    found = await embed(sandbox, input_type="text", model_name=OLD, text=TextInputRequest(input_text="a fox"))
    raw = (await post_json(sandbox, "/embed-v2", text())).json()

    assert len(found.data[0].embedding) == 512
    assert set(raw) == {"data"}
    assert raw["data"][0] == {
        "embedding": found.data[0].embedding,
        "embedding_option": None,
        "embedding_scope": None,
        "start_sec": None,
        "end_sec": None,
    }


async def test_image(sandbox: Sandbox, media_url: str) -> None:
    """An image by URL and as base64 gets the same vector; the URL is in the metadata."""
    by_url = await embed(
        sandbox,
        input_type="image",
        model_name=OLD,
        image=ImageInputRequest(media_source=MediaSource(url=f"{media_url}/picture")),
    )
    by_content = await embed(
        sandbox,
        input_type="image",
        model_name=OLD,
        image=ImageInputRequest(media_source=MediaSource(base_64_string=encoded(png()))),
    )

    assert by_url.data[0].embedding == by_content.data[0].embedding
    assert by_url.metadata.input_type == by_content.metadata.input_type == "image"
    assert (by_url.metadata.input_url, by_content.metadata.input_url) == (f"{media_url}/picture", None)


async def test_audio(sandbox: Sandbox) -> None:
    """By default, audio gets a vector for each window of 6 s and each option, and one of each option for the whole."""
    found = await embed(
        sandbox,
        input_type="audio",
        model_name=OLD,
        audio=AudioInputRequest(media_source=MediaSource(base_64_string=encoded(flac(13)))),
    )

    windows = [(0, 6), (6, 12), (12, 13)]
    assert Counter(
        (item.embedding_scope, item.embedding_option, (item.start_sec, item.end_sec)) for item in found.data
    ) == Counter(
        [
            *(("clip", option, window) for option in ("audio", "transcription") for window in windows),
            *(("asset", option, (0, 13)) for option in ("audio", "transcription")),
        ]
    )
    assert found.metadata.duration == 13
    assert found.metadata.embedding_scopes == ["clip", "asset"]
    assert found.usage is None


async def test_order(sandbox: Sandbox) -> None:
    """`data` is in no order, but in the same one for each call; an option turns this off."""
    body = audio({"base64_string": encoded(flac(30))}, embedding_option=["audio"], embedding_scope=["clip"])

    async def starts(asked: Sandbox) -> list[float]:
        reply = await post_json(asked, "/embed-v2", body)
        return [item["start_sec"] for item in reply.json()["data"]]

    first, second = await starts(sandbox), await starts(sandbox)
    async with Sandbox(SandboxOptions(shuffle_data=False)) as ordered:
        in_order = await starts(ordered)

    assert first == second != in_order == [0, 6, 12, 18, 24]
    assert sorted(first) == in_order


async def test_section(sandbox: Sandbox) -> None:
    """Start, end, segmentation, one option and one scope select the vectors."""
    body = audio(
        {"base64_string": encoded(flac(13))},
        start_sec=2,
        end_sec=9.5,
        segmentation={"strategy": "fixed", "fixed": {"duration_sec": 3}},
        embedding_option=["transcription"],
        embedding_scope=["clip"],
    )
    reply = (await post_json(sandbox, "/embed-v2", body)).json()

    times = sorted((item["start_sec"], item["end_sec"]) for item in reply["data"])
    assert times == [(2, 5), (5, 8), (8, 9.5)]
    assert {item["embedding_option"] for item in reply["data"]} == {"transcription"}
    assert (reply["metadata"]["start_offset_sec"], reply["metadata"]["end_offset_sec"]) == (2, 9.5)


@pytest.mark.parametrize(
    ("types", "options"),
    [
        (["fused_embedding"], {"fused"}),
        (["separate_embedding", "fused_embedding"], {"audio", "transcription", "fused"}),
    ],
)
async def test_fused(sandbox: Sandbox, types: list[str], options: set[str]) -> None:
    """Fused vectors come beside or instead of those of each option."""
    body = audio({"base64_string": encoded(flac(7))}, embedding_type=types)
    reply = (await post_json(sandbox, "/embed-v2", body)).json()

    assert {item["embedding_option"] for item in reply["data"]} == options


@pytest.mark.parametrize(("windows", "ends"), [("other", {3, 6.5}), ("missing", set())])
async def test_transcription(windows: Any, ends: set[float]) -> None:
    """Options give `transcription` other windows than `audio`, or no vectors."""
    body = audio({"base64_string": encoded(flac(7))}, embedding_scope=["clip"])
    async with Sandbox(SandboxOptions(transcription=windows)) as sandbox:
        data = (await post_json(sandbox, "/embed-v2", body)).json()["data"]

    assert {item["end_sec"] for item in data if item["embedding_option"] == "audio"} == {6, 7}
    assert {item["end_sec"] for item in data if item["embedding_option"] == "transcription"} == ends


async def test_newer_text(sandbox: Sandbox) -> None:
    """Marengo 3.5 embeds text as `multi_input`, counts its tokens, and has other vectors than 3.0."""
    found = await multi_input(sandbox, "a fox jumps")
    older = await embed(sandbox, input_type="text", model_name=OLD, text=TextInputRequest(input_text="a fox jumps"))

    assert len(found.data) == 1
    assert found.metadata.input_type == "multi_input"
    assert found.metadata.embedding_dimension == 512
    assert found.usage.model_dump(exclude_none=True) == {"input_tokens": {"text": 3}, "truncated": False}
    assert abs(np.dot(found.data[0].embedding, older.data[0].embedding)) < 0.2


@pytest.mark.parametrize("dimension", [128, 256, 512])
async def test_dimension(sandbox: Sandbox, dimension: int) -> None:
    """A shorter vector is the beginning of the full one, and so is its uncertainty."""
    full = await multi_input(sandbox, "a fox", embedding_uncertainty=True)
    short = await multi_input(sandbox, "a fox", embedding_uncertainty=True, embedding_dimension=dimension)

    assert short.data[0].embedding == full.data[0].embedding[:dimension]
    assert short.data[0].embedding_uncertainty == full.data[0].embedding_uncertainty[:dimension]
    assert short.metadata.embedding_dimension == dimension
    assert min(short.data[0].embedding_uncertainty) > 0


async def test_newer_media(sandbox: Sandbox) -> None:
    """One image, and audio up to 30 s, get one vector each, without times."""
    for kind, content in (("image", png()), ("audio", wav(30, rate=8000))):
        source = MultiInputMediaSource(media_type=kind, base_64_string=encoded(content))
        found = await multi_input(sandbox, None, source, embedding_uncertainty=True)

        assert [(item.start_sec, item.end_sec) for item in found.data] == [(None, None)]
        assert list(found.usage.input_tokens) == [kind]


async def test_named_sources(sandbox: Sandbox) -> None:
    """Text may refer to media sources by name; all together get one vector."""
    sources = [
        MultiInputMediaSource(name="a", media_type="image", base_64_string=encoded(png())),
        MultiInputMediaSource(name="b", media_type="audio", base_64_string=encoded(flac(2))),
    ]
    found = await multi_input(sandbox, "<@a> next to <@b>", *sources)

    assert len(found.data) == 1
    assert set(found.usage.input_tokens) == {"text", "image", "audio"}


async def test_truncation(sandbox: Sandbox) -> None:
    """Text over 2,000 tokens is cut if that is requested, and rejected otherwise."""
    found = await multi_input(sandbox, LONG, auto_truncate=True)
    assert found.usage.truncated
    assert found.usage.truncation_reason == "model_context_window"
    assert found.usage.input_tokens == {"text": 2_000}
    for value in (False, None):
        with pytest.raises(BadRequestError):
            await multi_input(sandbox, LONG, auto_truncate=value)


async def test_long_audio(sandbox: Sandbox) -> None:
    """Audio over ten minutes with 3.0, and over 30 s with 3.5, is rejected with both lengths."""
    older = await post_json(sandbox, "/embed-v2", audio({"base64_string": encoded(wav(601, rate=4000))}))
    source = {"media_type": "audio", "base64_string": encoded(wav(35, rate=8000))}
    newer = await post_json(sandbox, "/embed-v2", multi(None, source))

    assert [older.status_code, newer.status_code] == [400, 400]
    assert older.json()["message"] == "Duration (601.0 seconds) exceeds maximum limit of 600 seconds (10 minutes)"
    assert newer.json()["message"] == "Duration (35.0 seconds) exceeds maximum limit of 30 seconds (0 minutes)"


async def test_too_large() -> None:
    """With an option, media over a limit are a nested 413, which the SDK can parse."""
    source = MultiInputMediaSource(media_type="audio", base_64_string=encoded(wav(31, rate=8000)))
    async with Sandbox(SandboxOptions(over_limit_status=413)) as sandbox:
        with pytest.raises(ContentTooLargeError) as caught:
            await multi_input(sandbox, None, source)

    assert caught.value.body.error.code == "CONTENT_TOO_LARGE"


@pytest.mark.parametrize("model", [OLD, NEW])
async def test_small_image(sandbox: Sandbox, model: str) -> None:
    """An image below 128 pixels is rejected."""
    source = {"base64_string": encoded(png(127, 200)), "media_type": "image"}
    reply = await post_json(sandbox, "/embed-v2", multi(None, source, model=model))

    assert reply.status_code == 400
    assert "127x200" in reply.json()["message"]
