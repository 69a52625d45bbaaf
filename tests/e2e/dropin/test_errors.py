"""Errors of the drop-in: which are raised, and which are in the result."""

import copy
import json
import pickle
from typing import Any

import pytest

from embedwire import EmbedwireError
from embedwire.twelvelabs import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AsyncTwelveLabs,
    BadRequestError,
    TwelveLabs,
)
from tests.e2e.dropin.calls import NEW, create
from tests.support.media import flac
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


async def test_request_id_reaches_server_and_error(served: Served) -> None:
    """The id from `additional_headers` is in the headers of the exception, and its cause has the reason."""
    with pytest.raises(BadRequestError) as caught:
        await create(served, image_file=b"x", request_options={"additional_headers": {"X-Request-ID": "mine-1"}})

    assert (caught.value.headers or {})["x-request-id"] == "mine-1"
    assert isinstance(caught.value.__cause__, EmbedwireError)
    assert caught.value.__cause__.reason == "INPUT_REJECTED"
    assert str(caught.value).startswith("headers: {")


async def test_a_late_modality_does_not_fail_the_others(scripted: Scripted) -> None:
    """At the deadline, answered modalities are returned and the others have an error message."""

    async def script(visit: Visit) -> None:
        if b"audio_file" in visit.body:
            await visit.gone()
        else:
            await visit.answer(reply())

    async with scripted(script) as (served, _):
        res = await create(served, text="x", audio_file=b"sound", request_options={"timeout_in_seconds": 1.5})

    assert len(res.text_embedding.segments) == 1
    assert res.audio_embedding.segments == []
    assert "eadline" in res.audio_embedding.error_message
    assert res.audio_embedding.metadata.input_filename == "upload"


async def test_segments_of_a_failed_input_are_void(scripted: Scripted) -> None:
    """Segments that came before the upstream broke off are not in the result."""

    async def script(visit: Visit) -> None:
        name = "audio_embedding" if b"audio_file" in visit.body else "text_embedding"
        data = json.dumps(reply(name, segments=3 if name == "audio_embedding" else 1)).encode()
        if name == "audio_embedding":
            await visit.head(length=len(data))
            await visit.send(data[:-20])
            visit.writer.close()
        else:
            await visit.answer(data)

    async with scripted(script) as (served, _):
        res = await create(served, text="x", audio_file=b"sound")

    assert res.audio_embedding.segments == []
    assert res.audio_embedding.error_message


async def test_several_failures_are_all_reported(served: Served) -> None:
    """The first failure is raised, in the order text, image, audio; the others are notes on it."""
    with pytest.raises(BadRequestError) as caught:
        await create(served, image_file=b"broken", audio_file=b"broken")

    assert "image_file" in caught.value.body["message"]
    assert [note.partition(":")[0] for note in caught.value.__notes__] == ["audio"]


async def test_connection_refused() -> None:
    """Without a server ApiConnectionError, a ConnectionError, is raised; within the deadline the call is retried."""
    client = TwelveLabs(target=NO_SERVER)
    with pytest.raises(ApiConnectionError) as caught:
        client.embed.create(NEW, text="x", request_options={"max_retries": 1})
    client.close()

    assert isinstance(caught.value, ConnectionError)
    assert caught.value.status_code == 503


async def test_deadlines(served: Served) -> None:
    """A deadline of the client or of the call raises ApiTimeoutError, which is a TimeoutError."""
    async with AsyncTwelveLabs(target=served.app.target, timeout=0.001) as client:
        with pytest.raises(ApiTimeoutError) as caught:
            await client.embed.create(NEW, text="x")
        assert await client.embed.create(NEW, text="x", request_options={"timeout_in_seconds": 30})

    assert isinstance(caught.value, TimeoutError)


def test_missing_resources_are_attribute_errors() -> None:
    """The SDK's other resources are an AttributeError that refers to the SDK's package."""
    with TwelveLabs() as client:
        for part, name in ((client, "tasks"), (client.embed, "v_2")):
            with pytest.raises(AttributeError, match="twelvelabs"):
                getattr(part, name)


async def test_exceptions_and_results_can_be_copied_and_pickled(served: Served) -> None:
    """Every exception and every result survives pickle and copy, with its notes."""
    found: list[Any] = [
        ApiError(headers={"a": "b"}, status_code=503, body={"code": "x"}),
        BadRequestError({"code": "x"}, {"a": "b"}),
        ApiTimeoutError(headers={}, status_code=504, body={}),
        ApiConnectionError(headers={}, status_code=503, body={}),
    ]
    for error in found:
        error.add_note("more")
        for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert type(again) is type(error)
            assert (again.headers, again.status_code, again.body) == (error.headers, error.status_code, error.body)
            assert again.__notes__ == ["more"]

    res = await create(served, text="x", audio_file=flac(7))
    assert pickle.loads(pickle.dumps(res)) == copy.deepcopy(res) == res


async def test_a_400_that_is_not_json(scripted: Scripted) -> None:
    """A 400 whose body is not the upstream's JSON is a plain ApiError, not a BadRequestError, as with the SDK."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"<html>", 400)

    async with scripted(script) as (served, _):
        with pytest.raises(ApiError) as caught:
            await create(served, text="x")

    assert type(caught.value) is ApiError
    assert caught.value.status_code == 400
