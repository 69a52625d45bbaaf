"""Progress of inputs, and the upstream's tasks: events, functions of the caller, identifiers in failures."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from embedwire import (
    Audio,
    DeadlineExceededError,
    DynamicSegmentation,
    EmbedwireError,
    Image,
    Progress,
    RequestError,
    Result,
    Segment,
    Text,
)
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import SOUND, Connect, mapped, taken
from tests.e2e.client.services import Context, Recorder, answering, end_with, rejection, result, segment, service
from tests.support.media import wav
from tests.support.ports import NO_SERVER
from tests.support.serving import Served

UPLOADING, PREPARING, PROCESSING = (
    pb.PROGRESS_STAGE_UPLOADING,
    pb.PROGRESS_STAGE_PREPARING,
    pb.PROGRESS_STAGE_PROCESSING,
)


def progress(stage: int, index: int = 0, task: str = "") -> pb.CreateEmbeddingResponse:
    chosen: Any = stage
    made = pb.InputProgress(input_index=index, stage=chosen, upstream_task_id=task)
    return pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(progress=made)])


def waiting(*events: pb.CreateEmbeddingResponse) -> Any:
    """A CreateEmbedding that sends these events and then nothing."""

    async def create(_: pb.CreateEmbeddingRequest, __: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        for event in events:
            yield event
        await asyncio.Event().wait()

    return create


async def test_a_stream_yields_progress_as_it_arrives(connect: Connect) -> None:
    """Each stage is an event as soon as it arrives, before the segments of its input."""
    create = waiting(progress(UPLOADING), progress(PROCESSING, task="t"), progress(99))
    async with (
        service(CreateEmbedding=create) as target,
        connect(target) as client,
        await client.stream("m", SOUND, timeout=30) as events,
    ):
        found = [await anext(events) for _ in range(3)]

    assert found == [Progress(0, "", "uploading"), Progress(0, "", "processing", "t"), Progress(0, "", "unknown")]


async def test_events_of_a_stream_have_three_types(connect: Connect) -> None:
    """A stream with progress yields Progress, Segment and Result."""
    create = answering(
        progress(PREPARING),
        segment(),
        result(upstream_task_id="t", input_tokens={"audio": 7}, cache_status=pb.CACHE_STATUS_HIT),
    )
    async with service(CreateEmbedding=create) as target, connect(target) as client:
        found = await taken(await client.stream("m", SOUND, timeout=10))

    assert [type(event) for event in found] == [Progress, Segment, Result]
    done = found[2]
    assert isinstance(done, Result)
    assert (done.upstream_task_id, done.input_tokens, done.cache_status) == ("t", {"audio": 7}, "hit")
    assert hash(done)


async def test_a_function_receives_the_progress_of_embed(connect: Connect) -> None:
    """The function receives each stage before the call ends, and the embeddings are as without it."""
    begun, found = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    async def create(_: pb.CreateEmbeddingRequest, __: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield progress(PREPARING)
        yield progress(PROCESSING, task="t")
        await begun.wait()  # until the function was called
        yield segment()
        yield result()

    def note(event: Progress) -> None:
        found.append(event)
        if event.upstream_task_id:
            loop.call_soon_threadsafe(begun.set)

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        embedding = await client.embed("m", SOUND, on_progress=note, timeout=10)

    assert [event.stage for event in found] == ["preparing", "processing"]
    assert len(embedding.vector) == 2


async def test_an_exception_of_the_function_is_raised(connect: Connect) -> None:
    """An exception of the function ends the call or the run, and is raised."""

    def fail(_: Progress) -> None:
        raise ZeroDivisionError

    async with service(CreateEmbedding=waiting(progress(PREPARING))) as target, connect(target) as client:
        with pytest.raises(ZeroDivisionError):
            await client.embed("m", SOUND, on_progress=fail, timeout=30)
        with pytest.raises(ZeroDivisionError):
            await mapped(client.map("m", [SOUND], on_progress=fail, timeout=30))


async def test_what_is_no_function_is_refused(connect: Connect) -> None:
    """A function of another type is a TypeError before anything is sent, and a stream has no function."""
    async with connect(NO_SERVER) as client:
        for asked in (Text("a"), SOUND):
            with pytest.raises(TypeError, match="on_progress"):
                await client.embed("m", asked, on_progress="print")
        with pytest.raises(TypeError, match="on_progress"):
            client.map("m", [SOUND], on_progress="print")
        with pytest.raises(TypeError, match="on_progress"):
            await client.stream("m", SOUND, on_progress=print)


async def test_progress_of_map_has_positions(connect: Connect) -> None:
    """In map, the function receives the position of the input in the iterable."""
    found: list[Progress] = []
    create = answering(progress(PREPARING), segment(), result())
    async with service(CreateEmbedding=create) as target, connect(target) as client:
        asked = [Image(asset_id="a") for _ in range(3)]
        await mapped(client.map("m", asked, inputs_per_call=1, on_progress=found.append, timeout=10))

    assert sorted(event.input_index for event in found) == [0, 1, 2]


async def test_a_passed_deadline_has_the_task(connect: Connect) -> None:
    """The error of a deadline that passed at the client has the task of the only input; of several it has none."""
    create = waiting(progress(PROCESSING, task="t"), progress(PREPARING))
    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with pytest.raises(DeadlineExceededError) as of_one:
            await client.embed("m", SOUND, timeout=3)
        with pytest.raises(DeadlineExceededError) as of_several:
            await client.embed("m", [SOUND, SOUND], timeout=3)

    assert of_one.value.upstream_task_id == "t"
    assert of_several.value.upstream_task_id == ""


async def test_the_task_of_the_failure_takes_precedence(connect: Connect) -> None:
    """The failure of the server decides on the task and on the trace id."""
    failure = rejection("OVERLOADED", upstream_task_id="mine", upstream_error=pb.UpstreamError(trace_id="trace"))

    async def create(_: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield progress(PROCESSING, task="other")
        await end_with(context, failure)

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with pytest.raises(EmbedwireError) as caught:
            await client.embed("m", SOUND, timeout=10)

    assert caught.value.upstream_task_id == "mine"
    assert caught.value.upstream is not None
    assert caught.value.upstream.trace_id == "trace"


async def test_map_sends_no_input_with_a_task_again(connect: Connect) -> None:
    """After a rejection map sends the inputs without a task again; one with a task ends, with its identifier."""
    asked: list[list[str]] = []

    async def create(request: pb.CreateEmbeddingRequest, context: Context) -> Any:
        asked.append([item.key for item in request.inputs])
        if len(asked) == 1:
            yield progress(PROCESSING, 1, task="t")
            await end_with(context, rejection("DRAINING", 0.01))
        for index in range(len(request.inputs)):
            yield segment(index)
            yield result(index)

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        inputs = [Audio(url="http://media.test/a.mp3", key=key) for key in "abc"]
        found = await mapped(client.map("m", inputs, inputs_per_call=3, timeout=10))

    assert asked == [["a", "b", "c"], ["a", "c"]]
    assert [found[place].failure is None for place in range(3)] == [True, False, True]
    failure = found[1].failure
    assert failure is not None
    assert (failure.reason, failure.upstream_task_id) == ("DRAINING", "t")


async def test_map_ends_a_rejected_input_with_a_task(connect: Connect) -> None:
    """An input whose own rejection has a task is not sent again."""
    recorder: list[Any] = []

    async def create(request: pb.CreateEmbeddingRequest, _: Context) -> Any:
        recorder.append(request)
        yield result(failure=rejection("RATE_LIMITED", 0.01, upstream_task_id="t"))

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        found = await mapped(client.map("m", [SOUND], timeout=10))

    assert len(recorder) == 1
    failure = found[0].failure
    assert failure is not None
    assert (failure.reason, failure.upstream_task_id) == ("RATE_LIMITED", "t")


async def test_assets_and_tasks_are_no_files(connect: Connect) -> None:
    """Assets and tasks are sent in the request with their identifier only, by embed and by map."""
    recorder = Recorder()
    asked = [Image(asset_id="a"), Audio(asset_id="b"), Audio(task_id="c", key="k")]
    async with recorder.serving() as target, connect(target) as client:
        await client.embed("m", asked, timeout=10)
        await mapped(client.map("m", asked, timeout=10))

    for request in recorder.requests:
        assert list(request.inputs) == [
            pb.Input(image=pb.ImageInput(source=pb.MediaSource(asset=pb.AssetSource(id="a")))),
            pb.Input(audio=pb.AudioInput(source=pb.MediaSource(asset=pb.AssetSource(id="b")))),
            pb.Input(key="k", audio=pb.AudioInput(source=pb.MediaSource(task=pb.TaskSource(id="c")))),
        ]
    assert repr(asked[2]) == "Audio(task_id=...)"


async def test_map_names_an_identifier_that_cannot_be_encoded(connect: Connect) -> None:
    """In map, an identifier or a name with a lone surrogate fails its input, with the field in the failure."""
    wrong = "\udc80"
    asked = [Audio(task_id=wrong), Image(asset_id=wrong), Audio(asset_id="a", embedding_scopes=["clip", wrong])]
    async with Recorder().serving() as target, connect(target) as client:
        found = await mapped(client.map("m", asked, timeout=10))

    fields = [failure.violations[0].field for place in range(3) if (failure := found[place].failure)]
    assert fields == [
        "inputs[0].audio.source.task.id",
        "inputs[1].image.source.asset.id",
        "inputs[2].audio.embedding_scopes[1]",
    ]


async def test_a_task_of_the_sandbox_is_resumed(connect: Connect, served: Served) -> None:
    """With a real server: a task reports its stages, and a later call gets the same vectors by its identifier."""
    found: list[Progress] = []
    audio = Audio(
        data=wav(8),
        file_name="a.wav",
        embedding_scopes=["clip", "asset"],
        segmentation=DynamicSegmentation(3),
        processing_mode="task",
    )
    async with connect(served.app.target) as client:
        first = await client.embed("marengo3.5", audio, dimensions=128, on_progress=found.append, timeout=30)
        task = first.result.upstream_task_id
        again = await client.embed("marengo3.5", Audio(task_id=task), dimensions=128, timeout=30)
        with pytest.raises(RequestError) as unknown:
            await client.embed("marengo3.5", Audio(task_id="0" * 24), timeout=30)

    assert (found[-1].stage, found[-1].upstream_task_id) == ("processing", task)
    assert {segment.embedding_scope for segment in first.segments} == {"clip", "asset"}
    assert first.result.input_tokens["audio"] > 0
    assert first.matrix().shape[1] == 128
    assert (first.matrix() == again.matrix()).all()
    assert unknown.value.reason == "UPSTREAM_TASK_NOT_FOUND"
