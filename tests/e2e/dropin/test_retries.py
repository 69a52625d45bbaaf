"""Retries of the drop-in: how many, of which inputs, and with complete files."""

import io
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from embedwire.twelvelabs import ApiError
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from tests.e2e.client.services import result, segment, service
from tests.e2e.dropin.calls import Flaky, create, create_at
from tests.support.media import Pipe, png
from tests.support.serving import Scripted
from tests.support.upstreams import Visit, reply


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
    """A delay beyond the deadline is not waited for: the failure is raised immediately, with the upstream's hint."""
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


@pytest.mark.parametrize("is_in_failure", [True, False])
async def test_an_input_with_a_task_is_not_sent_again(*, is_in_failure: bool) -> None:
    """Progress is ignored, and an input that failed after the upstream had created a task is not retried."""
    task = "t" if is_in_failure else ""
    failing = pb.Failure(
        code=14, reason=error_reason_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, message="No.", upstream_task_id=task
    )
    asked: list[Any] = []

    async def create(request: pb.CreateEmbeddingRequest, _: Any) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        asked.append(request)
        progress = pb.InputProgress(
            stage=pb.PROGRESS_STAGE_PROCESSING, upstream_task_id="" if is_in_failure else "t", input_index=1
        )
        yield pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(progress=progress)])
        yield segment(0)
        yield result(0)
        yield result(1, failure=failing, attempts=1)

    async with service(CreateEmbedding=create) as target:
        url = "http://media.test/a.mp3"
        res = await create_at(target, text="x", audio_url=url, request_options={"max_retries": 3})

    assert len(asked) == 1
    assert res.audio_embedding.error_message == "No."
