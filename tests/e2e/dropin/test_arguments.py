"""Arguments and options of the drop-in: refused, deprecated, or accepted in the form of the SDK."""

import warnings
from pathlib import Path
from typing import Any

import pytest

from embedwire.twelvelabs import AsyncTwelveLabs
from tests.e2e.dropin import calls
from tests.e2e.dropin.calls import NEW, OLD, create
from tests.support.media import png
from tests.support.serving import Served


async def test_model_name_is_positional_too(served: Served) -> None:
    """The older SDK's positional model name is accepted."""
    assert (await create(served, OLD, text="x")).model_name == OLD


@pytest.mark.parametrize("by", ["argument", "body parameter"])
async def test_text_truncate_on_the_newer_model_warns(served: Served, by: str) -> None:
    """`text_truncate` is a DeprecationWarning at the caller's line, sync and async, and the call succeeds."""
    given: dict[str, Any] = {"text_truncate": "none"}
    if by != "argument":
        given = {"request_options": {"additional_body_parameters": given}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        res = await create(served, text="word " * 600, **given)
        async with AsyncTwelveLabs(target=served.app.target) as client:
            assert await client.embed.create(NEW, text="word " * 600, **given) == res

    assert [item.category for item in caught] == [DeprecationWarning] * 2
    assert [Path(item.filename) for item in caught] == [Path(calls.__file__), Path(__file__)]
    assert "text_truncate" in str(caught[0].message)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"colour": 1}, "colour"),
        ({"additional_query_parameters": {}}, "additional_query_parameters"),
        ({"additional_headers": {"User-Agent": "x"}}, "user-agent"),
        ({"additional_headers": {"x-request-id": "a b"}}, "request_id"),
        ({"additional_body_parameters": {"text": "x"}}, "text"),
        ({"timeout_in_seconds": -1}, "timeout_in_seconds"),
        ({"timeout_in_seconds": "1"}, "timeout_in_seconds"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": True}, "chunk_size"),
        ({"chunk_size": 1 << 24}, "chunk_size"),
        ({"additional_headers": "abc"}, "additional_headers"),
        ({"additional_headers": {"x-request-id": 5}}, "x-request-id"),
        ({"additional_body_parameters": ["text_truncate"]}, "additional_body_parameters"),
    ],
)
async def test_unsupported_options(served: Served, options: dict[str, Any], named: str) -> None:
    """An unsupported option is an error that names it, and nothing is sent."""
    with pytest.raises((ValueError, TypeError), match=named):
        await create(served, text="x", request_options=options)

    assert served.metric("embedwire_requests_total") == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"image_file": 5}, "image_file"),
        ({"image_file": ("a", b"", "t", {}, 5)}, "image_file"),
        ({"audio_file": "x" * 5000}, "audio_file"),
        ({"audio_file": "nul\0byte"}, "audio_file"),
        ({"audio_file": Path("/")}, "audio_file"),
        ({"image_url": b"http://x"}, "image_url"),
        ({"audio_url": "http://x/a.mp3", "audio_start_offset_sec": "1"}, "audio_start_offset_sec"),
    ],
)
async def test_invalid_arguments(served: Served, arguments: dict[str, Any], named: str) -> None:
    """The error names the parameter and stays short, whatever was passed."""
    with pytest.raises((TypeError, FileNotFoundError), match=named) as caught:
        await create(served, **arguments)

    assert len(str(caught.value)) < 250


async def test_media_types_of_http_uploads(served: Served) -> None:
    """A media type with parameters, as in an HTTP upload, is accepted."""
    res = await create(served, image_file=("p.png", png(), "image/png; charset=utf-8"))

    assert res.image_embedding.segments


async def test_an_offset_without_audio_is_a_warning(served: Served) -> None:
    """An offset without audio warns at the caller's line, and its type is still checked."""
    with pytest.warns(UserWarning, match="audio_start_offset_sec") as caught:
        await create(served, text="x", audio_start_offset_sec=1)
    with pytest.raises(TypeError, match="audio_start_offset_sec"):
        await create(served, text="x", audio_start_offset_sec="1")

    assert Path(caught[0].filename) == Path(calls.__file__)
