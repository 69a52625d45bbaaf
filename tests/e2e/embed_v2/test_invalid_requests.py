"""Requests that the upstream would reject fail before anything is sent, with the path of the field or the limit."""

from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_sandbox import Sandbox
from tests.e2e.embed_v2.support import Outcome, file_of, from_source, outcome, running
from tests.support.media import png, wav
from tests.support.messages import file_input, request, text_input, url_input
from tests.support.uploads import TASK

SOUND = wav(2)
SYNC = pb.PROCESSING_MODE_SYNC
OF_TASK = pb.MediaSource(task=pb.TaskSource(id="t1"))


def fixed(seconds: int) -> dict[str, Any]:
    return {"segmentation": pb.Segmentation(fixed=pb.FixedSegmentation(duration_sec=seconds))}


def dynamic(seconds: int) -> dict[str, Any]:
    return {"segmentation": pb.Segmentation(dynamic=pb.DynamicSegmentation(min_duration_sec=seconds))}


AUDIO = "inputs[0].audio"
SELECTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "option": ("marengo3.0", {"embedding_options": ["visual"]}, f"{AUDIO}.embedding_options"),
    "option of another model": ("marengo3.5", {"embedding_options": ["transcription"]}, f"{AUDIO}.embedding_options"),
    "option twice": ("marengo3.0", {"embedding_options": ["audio", "audio"]}, f"{AUDIO}.embedding_options"),
    "scope": ("marengo3.0", {"embedding_scopes": ["video"]}, f"{AUDIO}.embedding_scopes"),
    "type": ("marengo3.0", {"embedding_types": ["both"]}, f"{AUDIO}.embedding_types"),
    "fused with one option": (
        "marengo3.0",
        {"embedding_types": ["fused_embedding"], "embedding_options": ["audio"]},
        f"{AUDIO}.embedding_types",
    ),
    "fixed window too short": ("marengo3.0", fixed(1), f"{AUDIO}.segmentation.fixed.duration_sec"),
    "fixed window too long": ("marengo3.0", fixed(11), f"{AUDIO}.segmentation.fixed.duration_sec"),
    "dynamic window": ("marengo3.5", dynamic(6), f"{AUDIO}.segmentation.dynamic.min_duration_sec"),
    "no method": ("marengo3.0", {"segmentation": pb.Segmentation()}, f"{AUDIO}.segmentation"),
    "negative start": ("marengo3.0", {"start_offset_sec": -1.0}, f"{AUDIO}.start_offset_sec"),
    "end before start": ("marengo3.0", {"start_offset_sec": 3.0, "end_offset_sec": 2.0}, f"{AUDIO}.end_offset_sec"),
    "unknown mode": ("marengo3.0", {"processing_mode": 9}, f"{AUDIO}.processing_mode"),
    "no tasks": ("Marengo-retrieval-2.7", TASK, f"{AUDIO}.processing_mode"),
    "window of one vector": ("marengo3.5", {"processing_mode": SYNC, **dynamic(3)}, f"{AUDIO}.processing_mode"),
    "selection of an earlier task": ("marengo3.0", {"source": OF_TASK, "start_offset_sec": 1.0}, AUDIO),
    "identifier": (
        "marengo3.0",
        {"source": pb.MediaSource(task=pb.TaskSource(id="../assets"))},
        f"{AUDIO}.source.task.id",
    ),
    "asset of an old model": (
        "Marengo-retrieval-2.7",
        {"source": pb.MediaSource(asset=pb.AssetSource(id="a1"))},
        f"{AUDIO}.source.asset",
    ),
}


def is_unused(sandbox: Sandbox) -> bool:
    return not sandbox.journal


def assert_invalid(found: Outcome, field: str) -> None:
    assert (found.refused.code, found.refused.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert list(found.refused.fields) == [field]
    assert field in found.refused.message


async def test_selections() -> None:
    """Each selection that the model does not support is an invalid field; nothing is sent."""
    async with running() as (served, sandbox):
        for model, members, field in SELECTIONS.values():
            asked = file_of(SOUND)
            asked.MergeFrom(pb.AudioInput(**members))
            assert_invalid(await outcome(from_source(served, asked, model)), field)
        assert is_unused(sandbox)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (request(text_input(), dimensions=256), "dimensions"),
        (request(text_input(), model="marengo3.5", dimensions=100), "dimensions"),
        (request(text_input(), include_uncertainty=True), "include_uncertainty"),
        (
            request(
                pb.Input(audio=file_of(SOUND, embedding_scopes=["asset"])), model="marengo3.5", include_uncertainty=True
            ),
            f"{AUDIO}.embedding_scopes",
        ),
        (request(pb.Input(image=pb.ImageInput(source=OF_TASK))), "inputs[0].image.source.task"),
        (request(url_input("audio", "ftp://example.test/a.mp3")), f"{AUDIO}.source.url"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_other_fields(asked: pb.CreateEmbeddingRequest, field: str) -> None:
    """The same for fields of the request and for sources."""
    async with running() as (served, sandbox):
        assert_invalid(await outcome(served.stub.CreateEmbedding(asked, timeout=60)), field)
        assert is_unused(sandbox)


@pytest.mark.parametrize(
    ("model", "seconds", "members", "limit"),
    [
        ("marengo3.0", 4 * 3600 + 60, {}, "14400 s"),
        ("marengo3.0", 660, {"processing_mode": SYNC}, "600 s"),
        ("marengo3.5", 40, {"processing_mode": SYNC}, "30 s"),
        ("Marengo-retrieval-2.7", 660, {}, "600 s"),
    ],
)
async def test_too_long(model: str, seconds: int, members: dict[str, Any], limit: str) -> None:
    """A file longer than the model accepts fails its input; the message has the length and the limit."""
    asked = file_of(wav(seconds, rate=200), **members)
    async with running() as (served, sandbox):
        found = await outcome(from_source(served, asked, model))
        assert is_unused(sandbox)

    assert (found.refused.code, found.refused.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTENT_TOO_LARGE")
    assert list(found.refused.fields) == [AUDIO]
    assert f"{seconds} s long" in found.refused.message
    assert limit in found.refused.message
    assert ("PROCESSING_MODE_SYNC" in found.refused.message) == bool(members)


async def test_too_long_among_others() -> None:
    """With several inputs, only the file that is too long fails."""
    long = pb.Input(audio=file_of(wav(660, rate=200), processing_mode=SYNC))
    async with running() as (served, _):
        asked = request(long, text_input(), file_input("image", png()))
        found = await outcome(served.stub.CreateEmbedding(asked, timeout=60))

    results = {event.result.input_index: event.result for event in found.events if event.HasField("result")}
    assert [results[index].HasField("failure") for index in range(3)] == [True, False, False]
    assert "600 s" in results[0].failure.message


async def test_long_file() -> None:
    """A file above ten minutes is a task if the caller does not choose."""
    async with running() as (served, sandbox):
        found = await outcome(from_source(served, file_of(wav(620, rate=8000))))

    assert found.failure is None
    assert found.result.upstream_task_id
    assert sandbox.operations["task_create"] == 1
