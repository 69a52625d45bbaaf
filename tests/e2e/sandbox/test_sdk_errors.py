"""Exceptions of the official SDK for rejected calls."""

from typing import Any

import pytest
from twelvelabs.core.api_error import ApiError
from twelvelabs.errors import BadRequestError

from embedwire_sandbox import Sandbox, SandboxOptions
from embedwire_sandbox.errors import DOCS_URL
from tests.e2e.sandbox.official import Create, create_async
from tests.support.media import flac, jpeg, mp3, png, wav
from tests.support.ports import NO_SERVER

OLD, NEW = "Marengo-retrieval-2.7", "marengo3.0"
LONG = "word " * 78


async def refusal(sandbox: Sandbox, create: Create = create_async, **arguments: Any) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        await create(sandbox, **{"model_name": NEW, **arguments})
    assert caught.value.body["docs_url"] == DOCS_URL
    return caught.value


def truncation(value: str) -> dict[str, Any]:
    return {"request_options": {"additional_body_parameters": {"text_truncate": value}}}


async def test_text_too_long(sandbox: Sandbox, create: Create) -> None:
    """Text over 77 tokens on 2.7 with truncation `none` is rejected with the documented message."""
    error = await refusal(sandbox, create, model_name=OLD, text=LONG, **truncation("none"))

    assert error.body["code"] == "parameter_invalid"
    assert error.body["message"] == (
        "The text parameter is invalid. The text token length should be less than or equal to 77."
    )


@pytest.mark.parametrize("model", [OLD, NEW])
async def test_wrong_truncation(sandbox: Sandbox, create: Create, model: str) -> None:
    """An unknown value of `text_truncate` is rejected with the documented message."""
    error = await refusal(sandbox, create, model_name=model, text="x", **truncation("middle"))

    assert error.body["code"] == "parameter_invalid"
    assert error.body["message"] == (
        "The text_truncate parameter is invalid. You should use one of the following values: none, start, end."
    )


INVALID: dict[str, tuple[dict[str, Any], str, str]] = {
    "no model": ({"model_name": "", "text": "x"}, "parameter_not_provided", "model_name"),
    "unknown model": ({"model_name": "marengo9", "text": "x"}, "parameter_invalid", "model_name"),
    "model of the other endpoint": ({"model_name": "marengo3.5", "text": "x"}, "parameter_invalid", "model_name"),
    "no input": ({}, "parameter_not_provided", "text"),
    "only empty urls": ({"image_url": None, "audio_url": None}, "parameter_not_provided", "image_url"),
    "empty text": ({"text": ""}, "parameter_invalid", "text"),
    "blank text": ({"text": " \n"}, "parameter_invalid", "text"),
    "negative offset": ({"audio_file": wav(2), "audio_start_offset_sec": -3}, "parameter_invalid", "offset_sec"),
    "offset as a word": ({"audio_file": wav(2), "audio_start_offset_sec": "two"}, "parameter_invalid", "offset_sec"),
    "offset nan": ({"audio_file": wav(2), "audio_start_offset_sec": "nan"}, "parameter_invalid", "offset_sec"),
    "offset infinite": ({"audio_file": wav(2), "audio_start_offset_sec": "1e999"}, "parameter_invalid", "offset_sec"),
    "offset at the end": ({"audio_file": wav(2), "audio_start_offset_sec": 2}, "parameter_invalid", "offset_sec"),
    "empty image": ({"image_file": b""}, "parameter_invalid", "image_file"),
    "path as image": ({"image_file": "/tmp/pic.png"}, "parameter_invalid", "image_file"),
    "cut png": ({"image_file": png()[:-30]}, "parameter_invalid", "image_file"),
    "cut jpeg": ({"image_file": jpeg()[:300]}, "parameter_invalid", "image_file"),
    "gif": ({"image_file": b"GIF89a" + bytes(100)}, "parameter_invalid", "image_file"),
    "small image": ({"image_file": png(127, 300)}, "parameter_invalid", "128x128"),
    "small image 2.7": ({"model_name": OLD, "image_file": png(64, 63)}, "parameter_invalid", "64x64"),
    "large image 2.7": ({"model_name": OLD, "image_file": png() + bytes(5_000_000)}, "parameter_invalid", "5000000"),
    "sound as image": ({"image_file": wav(1)}, "parameter_invalid", "image_file"),
    "empty audio": ({"audio_file": b""}, "parameter_invalid", "audio_file"),
    "image as audio": ({"audio_file": png()}, "parameter_invalid", "audio_file"),
    "ogg": ({"audio_file": b"OggS" + bytes(200)}, "parameter_invalid", "audio_file"),
    "head of a wav": ({"audio_file": wav(1)[:20]}, "parameter_invalid", "audio_file"),
    "silent length": ({"audio_file": wav(0)}, "parameter_invalid", "audio_file"),
    "cut flac": ({"audio_file": flac(4)[:3000]}, "parameter_invalid", "audio_file"),
    "cut mp3": ({"audio_file": mp3(4)[:3000]}, "parameter_invalid", "audio_file"),
    "url of another host": ({"image_url": "http://192.0.2.1/a.png"}, "parameter_invalid", "image_url"),
    "url without scheme": ({"audio_url": "a.mp3"}, "parameter_invalid", "audio_url"),
    "url of a file": ({"audio_url": "file:///etc/hosts"}, "parameter_invalid", "audio_url"),
    "url that is none": ({"audio_url": "http://[::1"}, "parameter_invalid", "audio_url"),
    "url without a server": ({"image_url": f"http://{NO_SERVER}/a.png"}, "parameter_invalid", "image_url"),
}


@pytest.mark.parametrize("case", INVALID)
async def test_invalid(sandbox: Sandbox, case: str) -> None:
    """Invalid content is a BadRequestError with the code, and the message names the faulty field."""
    arguments, code, named = INVALID[case]
    error = await refusal(sandbox, **arguments)

    assert code == error.body["code"]
    assert named in error.body["message"]


@pytest.mark.parametrize("path", ["missing", "moved", "endless"])
async def test_unusable_urls(media_url: str, path: str) -> None:
    """A URL that is missing, redirects or never ends is refused, and only its parameter is named."""
    async with Sandbox(SandboxOptions(max_file_bytes=1 << 20)) as sandbox:
        error = await refusal(sandbox, image_url=f"{media_url}/{path}")

    assert error.body["message"].startswith("The image_url parameter is invalid.")
    assert media_url not in error.body["message"]


async def test_slow_url(media_url: str) -> None:
    """A fetch that exceeds its total time is aborted."""
    async with Sandbox(SandboxOptions(fetch_timeout_sec=0.1, max_file_bytes=1 << 40)) as sandbox:
        assert "audio_url" in (await refusal(sandbox, audio_url=f"{media_url}/endless")).body["message"]


async def test_any_url(media_url: str) -> None:
    """An address other than loopback is fetched only if the option allows it."""
    url = media_url.replace("127.0.0.1", "0.0.0.0") + "/picture"
    async with Sandbox() as sandbox:
        assert "loopback" in (await refusal(sandbox, image_url=url)).body["message"]
    async with Sandbox(SandboxOptions(any_url=True)) as sandbox:
        assert (await create_async(sandbox, model_name=NEW, image_url=url)).image_embedding


async def test_text_is_checked_before_urls_are_fetched(sandbox: Sandbox) -> None:
    """With a text that is too long and an unreachable URL, the text is reported."""
    error = await refusal(
        sandbox, model_name=OLD, text=LONG, image_url=f"http://{NO_SERVER}/a.png", **truncation("none")
    )
    assert error.body["message"].startswith("The text parameter")


async def test_partial_failure(sandbox: Sandbox, create: Create) -> None:
    """One invalid modality among several is HTTP 200 with an error message of its own."""
    reply = await create(sandbox, model_name=NEW, text="x", image_file=b"broken", audio_file=wav(1))

    assert reply.image_embedding
    assert reply.image_embedding.segments == []
    assert "Image file is not valid." in (reply.image_embedding.error_message or "")
    assert reply.text_embedding
    assert reply.text_embedding.segments
    assert reply.audio_embedding
    assert reply.audio_embedding.segments


async def test_bad_media_by_option() -> None:
    """The option makes invalid media always a rejection, or always a partial failure."""
    async with Sandbox(SandboxOptions(bad_media="reject")) as sandbox:
        await refusal(sandbox, text="x", image_file=b"broken")
    async with Sandbox(SandboxOptions(bad_media="report")) as sandbox:
        reply = await create_async(sandbox, model_name=NEW, audio_file=b"broken")
    assert reply.audio_embedding
    assert reply.audio_embedding.error_message


async def test_long_text_by_option() -> None:
    """The option makes text over the limit of Marengo 3.0 a partial failure, as observed, or a rejection."""
    message = "The text token length should be less than or equal to 500."
    async with Sandbox(SandboxOptions(long_text="report")) as sandbox:
        reply = await create_async(sandbox, model_name=NEW, text="word " * 501)
    assert reply.text_embedding
    assert (message, []) == (reply.text_embedding.error_message, reply.text_embedding.segments)
    async with Sandbox(SandboxOptions(long_text="reject")) as sandbox:
        assert message in (await refusal(sandbox, text="word " * 501)).body["message"]


async def test_wrong_key(create: Create) -> None:
    """A key other than the configured one is a 401 with its code, and not a BadRequestError."""
    async with Sandbox(SandboxOptions(api_key="right")) as sandbox:
        with pytest.raises(ApiError) as caught:
            await create(sandbox, model_name=NEW, text="x")

    assert (caught.value.status_code, caught.value.body["code"]) == (401, "api_key_invalid")
    assert type(caught.value) is ApiError


@pytest.mark.parametrize("empty", [False, True], ids=["json", "empty"])
async def test_rate_limit(create: Create, empty: bool) -> None:  # noqa: FBT001
    """A call over the limit is a 429 with the time to retry."""
    options = SandboxOptions(requests_per_minute={"text": 1}, empty_429=empty)
    async with Sandbox(options) as sandbox:
        await create(sandbox, model_name=NEW, text="x")
        with pytest.raises(ApiError) as caught:
            await create(sandbox, model_name=NEW, text="x")

    headers = caught.value.headers or {}
    assert caught.value.status_code == 429
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-remaining"] == headers["x-ratelimit-request-remaining"] == "0"
    assert caught.value.body == "" if empty else caught.value.body["code"] == "too_many_requests"


async def test_retired_model() -> None:
    """A retired 2.7 is an unknown model, and 3.0 is available."""
    async with Sandbox(SandboxOptions(retire_marengo_27=True)) as sandbox:
        assert "model_name" in (await refusal(sandbox, model_name=OLD, text="x")).body["message"]
        assert (await create_async(sandbox, model_name=NEW, text="x")).text_embedding


async def test_strict() -> None:
    """A strict sandbox rejects aliases, unknown parts and empty parts."""
    extra = {"additional_body_parameters": {"colour": "blue"}}
    async with Sandbox(SandboxOptions(strict=True)) as sandbox:
        assert (await refusal(sandbox, model_name="marengo2.7", text="x")).body["code"] == "parameter_invalid"
        assert (await refusal(sandbox, text="x", request_options=extra)).body["code"] == "parameter_unknown"
        assert "image_url" in (await refusal(sandbox, text="x", image_url=None)).body["message"]


@pytest.mark.parametrize("model", [OLD, NEW])
async def test_long_audio(create: Create, model: str) -> None:
    """Audio longer than the limit of a synchronous call is rejected, with both lengths in the message."""
    async with Sandbox(SandboxOptions(max_sync_audio_sec=3.0)) as sandbox:
        error = await refusal(sandbox, create, model_name=model, audio_file=wav(3.5))
        await create(sandbox, model_name=model, audio_file=wav(3))

    assert "Duration (3.5 seconds) exceeds maximum limit of 3 seconds (0 minutes)" in error.body["message"]


def test_default_limit_of_audio() -> None:
    """The default limit of a synchronous call is ten minutes."""
    assert SandboxOptions().max_sync_audio_sec == 600.0
