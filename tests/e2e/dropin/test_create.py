"""Behaviour of the drop-in that cannot be compared with the SDK."""

import asyncio
import copy
import io
import json
import pickle
import time
import warnings
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import twelvelabs

from embedwire import EmbedwireError
from embedwire.twelvelabs import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AsyncTwelveLabs,
    BadRequestError,
    TwelveLabs,
)
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_sandbox import Sandbox
from tests.e2e.client.services import result, segment, service
from tests.e2e.sandbox.official import create_sync
from tests.support.media import Pipe, flac, png
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served, serving
from tests.support.upstreams import Visit, reply

NEW, OLD = "marengo3.0", "Marengo-retrieval-2.7"


async def create(served: Served, *positional: Any, api_key: str | None = None, **arguments: Any) -> Any:
    """The sync drop-in, in a thread, because the server runs on this loop."""
    return await create_at(served.app.target, *positional, api_key=api_key, **arguments)


async def create_at(target: str, *positional: Any, api_key: str | None = None, **arguments: Any) -> Any:
    with TwelveLabs(target=target, api_key=api_key) as client:
        return await asyncio.to_thread(lambda: client.embed.create(*(positional or (NEW,)), **arguments))


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
        with httpx.Client() as http, TwelveLabs(target=served.app.target) as ours:
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

    assert [(item.category, Path(item.filename)) for item in caught] == [(DeprecationWarning, Path(__file__))] * 2
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


async def test_request_id_reaches_server_and_error(served: Served) -> None:
    """The id from `additional_headers` is in the headers of the exception, and its cause has the reason."""
    with pytest.raises(BadRequestError) as caught:
        await create(served, image_file=b"x", request_options={"additional_headers": {"X-Request-ID": "mine-1"}})

    assert (caught.value.headers or {})["x-request-id"] == "mine-1"
    assert isinstance(caught.value.__cause__, EmbedwireError)
    assert caught.value.__cause__.reason == "INPUT_REJECTED"
    assert str(caught.value).startswith("headers: {")


class Flaky:
    """An upstream that fails some requests first, and records what it received."""

    def __init__(self, failures: int, status: int = 503, **headers: str) -> None:
        self.failures = failures
        self.status = status
        self.headers = headers
        self.bodies: list[bytes] = []

    async def __call__(self, visit: Visit) -> None:
        self.bodies.append(visit.body)
        if len(self.bodies) <= self.failures:
            await visit.answer({"code": "x", "message": "Not now."}, self.status, **self.headers)
        else:
            name = "audio" if b"audio_file" in visit.body else "image" if b"image_file" in visit.body else "text"
            await visit.answer(reply(f"{name}_embedding"))


@pytest.mark.parametrize(("retries", "failures"), [(1, 1), (2, 2)])
async def test_max_retries_is_the_number_of_retries(scripted: Scripted, retries: int, failures: int) -> None:
    """Up to `max_retries` requests follow a failed first one, each with the complete form."""
    upstream = Flaky(failures)
    async with scripted(upstream) as (served, _):
        await create(served, text="whole", request_options={"max_retries": retries})

    assert len(upstream.bodies) == failures + 1
    assert all(b"marengo3.0" in body and b"whole" in body for body in upstream.bodies)


@pytest.mark.parametrize("retries", [0, 2])
async def test_max_retries_is_not_exceeded(scripted: Scripted, retries: int) -> None:
    """After the last retry the failure of the upstream is raised."""
    upstream = Flaky(9)
    async with scripted(upstream) as (served, _):
        with pytest.raises(ApiError) as caught:
            await create(served, text="x", request_options={"max_retries": retries})

    assert len(upstream.bodies) == retries + 1
    assert (caught.value.status_code, caught.value.body) == (503, {"code": "x", "message": "Not now."})


async def test_the_servers_attempts_count() -> None:
    """Attempts of the server are subtracted from `max_retries`, so that the two never multiply."""
    failing = pb.Failure(code=14, reason=error_reason_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, message="No.")
    asked: list[int] = []

    async def create(request: pb.CreateEmbeddingRequest, _: Any) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        asked.append(request.max_retries)
        for index, item in enumerate(request.inputs):
            if item.WhichOneof("modality") == "image":
                yield result(index, failure=failing, attempts=2)
            else:
                yield segment(index)
                yield result(index)

    async with service(CreateEmbedding=create) as target:
        res = await create_at(target, text="x", image_file=b"p", request_options={"max_retries": 3})

    assert asked == [3, 1]
    assert res.image_embedding.error_message == "No."


async def test_segments_of_an_earlier_attempt_are_void(scripted: Scripted) -> None:
    """Segments of an attempt whose reply broke off are not in the result of a later successful attempt."""
    seen: list[bytes] = []

    async def script(visit: Visit) -> None:
        seen.append(visit.body)
        data = json.dumps(reply("audio_embedding", segments=3)).encode()
        await visit.head(length=len(data))
        if len(seen) == 1:
            await visit.send(data[:-20])
            visit.writer.close()
        else:
            await visit.send(data)

    async with scripted(script) as (served, _):
        res = await create(served, audio_file=b"sound", request_options={"max_retries": 1})

    assert len(seen) == 2
    assert [each.start_offset_sec for each in res.audio_embedding.segments] == [0, 6, 12]


async def test_files_are_sent_completely_in_each_attempt(scripted: Scripted, tmp_path: Path) -> None:
    """Path, open file and bytes are read from the beginning for each attempt, also where they are uploaded."""
    content = bytes(range(256)) * 8000
    (tmp_path / "a.wav").write_bytes(content)
    with (tmp_path / "a.wav").open("rb") as file:
        for given in (tmp_path / "a.wav", file, content):
            upstream = Flaky(1)
            async with scripted(upstream) as (served, _):
                await create(served, audio_file=given, request_options={"max_retries": 1, "chunk_size": 100_000})
            assert [body.count(content) for body in upstream.bodies] == [1, 1]


async def test_a_stream_is_sent_once(scripted: Scripted) -> None:
    """A stream that is not seekable is not sent a second time."""
    upstream = Flaky(1)
    async with scripted(upstream, retry_max_attempts=1) as (served, _):
        with pytest.raises(ApiError, match="503"):
            await create(served, image_file=Pipe(png()), request_options={"max_retries": 3})

    assert len(upstream.bodies) == 1


async def test_only_failed_inputs_are_sent_again(scripted: Scripted) -> None:
    """Of several inputs, those that succeeded are not sent again."""
    seen: list[str] = []

    async def script(visit: Visit) -> None:
        name = "image" if b"image_file" in visit.body else "text"
        seen.append(name)
        if seen.count("image") == 1 and name == "image":
            await visit.answer({"code": "too_many_requests", "message": "Slow."}, 429, Retry_After="0")
        else:
            await visit.answer(reply(f"{name}_embedding"))

    async with scripted(script) as (served, _):
        res = await create(served, text="x", image_file=b"p", request_options={"max_retries": 1})

    assert res.image_embedding.segments
    assert sorted(seen) == ["image", "image", "text"]


async def test_the_upstreams_delay_is_waited_for(scripted: Scripted) -> None:
    """With `Retry-After: 1` the second request comes a second later."""
    upstream = Flaky(1, 429, Retry_After="1")
    async with scripted(upstream) as (served, _):
        began = time.monotonic()
        await create(served, text="x", request_options={"max_retries": 1})

    assert time.monotonic() - began >= 1


async def test_no_retry_that_cannot_end_in_time(scripted: Scripted) -> None:
    """A delay beyond the deadline is not waited for: the failure is raised at once, with the upstream's hint."""
    upstream = Flaky(1, 429, Retry_After="30")
    async with scripted(upstream) as (served, _):
        began = time.monotonic()
        with pytest.raises(ApiError) as caught:
            await create(served, text="x", request_options={"max_retries": 1, "timeout_in_seconds": 20})

    assert time.monotonic() - began < 20
    assert (caught.value.status_code, (caught.value.headers or {})["retry-after"]) == (429, "30")


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_permanent_failures_are_not_retried(scripted: Scripted, status: int) -> None:
    """A rejection is not retried, whatever `max_retries` is."""
    upstream = Flaky(9, status)
    async with scripted(upstream) as (served, _):
        with pytest.raises(ApiError):
            await create(served, text="x", request_options={"max_retries": 3})

    assert len(upstream.bodies) == 1


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
    with pytest.raises(ValueError, match="plain text"):
        TwelveLabs(api_key="mine", target="embed.example:50051")


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


async def test_media_types_of_http_uploads(served: Served) -> None:
    """A media type with parameters, as in an HTTP upload, is accepted."""
    res = await create(served, image_file=("p.png", png(), "image/png; charset=utf-8"))

    assert res.image_embedding.segments


class Duck:
    """A seekable file object with only the methods read and seek."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)
        self._file.seek(7)
        self.read, self.seek = self._file.read, self._file.seek


async def test_a_file_without_seekable_is_rewound(scripted: Scripted) -> None:
    """A file without `seekable()` is read from its beginning in each attempt."""
    upstream = Flaky(1)
    async with scripted(upstream) as (served, _):
        await create(served, image_file=Duck(b"the whole of it"), request_options={"max_retries": 1})

    assert ["the whole of it" in body.decode() for body in upstream.bodies] == [True, True]


async def test_an_offset_without_audio_is_a_warning(served: Served) -> None:
    """An offset without audio warns at the caller's line, and its type is still checked."""
    with pytest.warns(UserWarning, match="audio_start_offset_sec") as caught:
        await create(served, text="x", audio_start_offset_sec=1)
    with pytest.raises(TypeError, match="audio_start_offset_sec"):
        await create(served, text="x", audio_start_offset_sec="1")

    assert Path(caught[0].filename) == Path(__file__)


async def test_a_400_that_is_not_json(scripted: Scripted) -> None:
    """A 400 whose body is not the upstream's JSON is a plain ApiError, not a BadRequestError, as with the SDK."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"<html>", 400)

    async with scripted(script) as (served, _):
        with pytest.raises(ApiError) as caught:
            await create(served, text="x")

    assert type(caught.value) is ApiError
    assert caught.value.status_code == 400
