"""`embedwire embed`: options of audio, progress, and tasks of the upstream."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.cli.running import run
from tests.e2e.client.services import Context, Recorder, end_with, rejection, segment, service
from tests.e2e.embed_v2.support import running
from tests.support.ports import NO_SERVER

URL = "http://media.test/a.mp3"


async def test_options_of_audio_reach_the_server() -> None:
    """Each option is in the request; a task is an input of its own, without them."""
    recorder = Recorder()
    words = ["--end-offset", "30.5", "--segmentation", "dynamic:3", "--processing-mode", "task", "--dimensions", "256"]
    words += ["--embedding-option", "audio", "--embedding-option", "transcription", "--embedding-scope", "asset"]
    words += ["--embedding-type", "fused_embedding", "--resume-task", "t-1"]
    async with recorder.serving() as target:
        ended = await run(target, "embed", "--audio", URL, *words)

    assert (ended.code, ended.err) == (0, "")
    request = recorder.requests[0]
    assert request.dimensions == 256
    assert request.inputs[0].audio == pb.AudioInput(
        source=pb.MediaSource(url=URL),
        end_offset_sec=30.5,
        segmentation=pb.Segmentation(dynamic=pb.DynamicSegmentation(min_duration_sec=3)),
        embedding_options=["audio", "transcription"],
        embedding_scopes=["asset"],
        embedding_types=["fused_embedding"],
        processing_mode=pb.PROCESSING_MODE_TASK,
    )
    assert request.inputs[1].audio == pb.AudioInput(source=pb.MediaSource(task=pb.TaskSource(id="t-1")))


@pytest.mark.parametrize("value", ["6", "fixed", "fixed:1.5", "dynamic:0", "other:6"])
async def test_an_invalid_segmentation_is_a_usage_error(value: str) -> None:
    """A segmentation of another form is a usage error that names the two forms."""
    ended = await run(NO_SERVER, "embed", "--audio", URL, "--segmentation", value)

    assert ended.code == 2
    assert "--segmentation" in ended.usage
    assert "fixed:SECONDS or dynamic:SECONDS" in ended.usage


@pytest.mark.parametrize("inputs", [("--text", "a"), ("--resume-task", "t-1")])
async def test_options_of_audio_need_audio(inputs: tuple[str, ...]) -> None:
    """An option of audio without an audio input is a usage error; a task has its options already."""
    ended = await run(NO_SERVER, "embed", *inputs, "--embedding-scope", "clip")

    assert ended.code == 2
    assert "--embedding-scope" in ended.usage
    assert "is for audio" in ended.usage


async def test_a_task_is_printed() -> None:
    """The identifier of a task is printed when it is known, and with a failure how to get its result."""

    async def create(_: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        for task in ("", "t-1", "t-1"):
            stage = pb.PROGRESS_STAGE_PROCESSING if task else pb.PROGRESS_STAGE_PREPARING
            made = pb.InputProgress(stage=stage, upstream_task_id=task)
            yield pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(progress=made)])
        yield segment(audio=pb.AudioSegment(embedding_option="audio", embedding_scope="clip"), text=None)
        await end_with(context, rejection("DRAINING"))

    async with service(CreateEmbedding=create) as target:
        ended = await run(target, "embed", "--audio", URL)

    assert ended.code != 0
    assert ended.err.startswith(f"note: {URL} is task t-1 of the upstream\nerror: ")
    assert ended.err.count("note:") == 1
    assert "task of the upstream: --resume-task t-1 gets its result" in ended.err


async def test_uncertainty() -> None:
    """`--uncertainty` requests the uncertainty of the values, and JSON Lines have it; without it they do not."""
    async with running() as (served, _):
        words = ("embed", "--text", "a", "--model", "marengo3.5", "--dimensions", "128", "--format", "json")
        without, ended = [await run(served.app.target, *words, *more) for more in ((), ("--uncertainty",))]

    (segment_without, _), (segment_with, _) = without.lines, ended.lines
    assert "uncertainty" not in segment_without
    assert segment_with["uncertainty"]["dimensions"] == 128
    assert len(segment_with["uncertainty"]["values"]) == 128
    assert all(value >= 0 for value in segment_with["uncertainty"]["values"])
    assert segment_with["vector"] == segment_without["vector"]


@pytest.mark.parametrize("words", [(), ("--format", "table"), ("--format", "npy", "--output", "a.npy")])
async def test_uncertainty_needs_json(words: tuple[str, ...]) -> None:
    """`--uncertainty` with a format that does not have it is a usage error."""
    ended = await run(NO_SERVER, "embed", "--text", "a", "--uncertainty", *words)

    assert ended.code == 2
    assert "--format json" in ended.usage
