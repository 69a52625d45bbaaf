"""Replies about tasks: those recorded with the official SDK 1.3.6, and faults, each in several splits."""

import json
from typing import Any

import pytest

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.inputs import AudioInput, TaskSource
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.twelvelabs.identifiers import identifier
from embedwire_server.upstreams.twelvelabs.v2 import TaskReplyParser
from embedwire_server.upstreams.twelvelabs.v2_reply import TaskReply, TaskStatus
from tests.unit.upstreams.twelvelabs.v1_support import packed, split
from tests.unit.upstreams.twelvelabs.v2_support import AUDIO, AUDIO_URL, KEY, NEW, call, task_outcome

TASK = {"_id": "64f8d2c7e4a1b37f8a9c5d12", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:09Z"}
VECTOR = packed([1, 2, 3])
EMPTY = ReplySummary("marengo3.0", input_url=AUDIO_URL)


def same(reply: Any, wanted: EmbedCall | None = None) -> TaskReply | str:
    """Return the outcome in one piece after a check that other splits have the same."""
    data = reply if isinstance(reply, bytes) else json.dumps({**TASK, **reply}).encode()
    wanted = wanted or call(AUDIO)
    whole = task_outcome([data], wanted)
    for size in (1, 2, 7):
        assert task_outcome(split(data, size), wanted) == whole
    return whole


def window(start: float, end: float | None, option: str = "audio", scope: str = "clip") -> dict[str, Any]:
    times = {"start_sec": start, "end_sec": end}
    return {"embedding": [1, 2, 3], "embedding_option": option, "embedding_scope": scope, **times}


def test_ready() -> None:
    """The segments of a task that is ready are ordered by start, end, option and scope."""
    windows = [
        window(6, 12),
        window(0, None),
        window(0, 12, scope="asset"),
        window(0, 6, "transcription"),
        window(0, 12, scope="clip"),
        window(0, 6),
    ]
    metadata = {"input_type": "audio", "duration": 12.0, "embedding_dimension": 3}
    assert same({"status": "ready", "data": windows, "metadata": metadata}) == TaskReply(
        TaskStatus.READY,
        [
            Segment(VECTOR, 0.0, 6.0, "audio", "clip"),
            Segment(VECTOR, 0.0, 6.0, "transcription", "clip"),
            Segment(VECTOR, 0.0, 12.0, "audio", "asset"),
            Segment(VECTOR, 0.0, 12.0, "audio", "clip"),
            Segment(VECTOR, 0.0, None, "audio", "clip"),
            Segment(VECTOR, 6.0, 12.0, "audio", "clip"),
        ],
        ReplySummary("marengo3.0", input_url=AUDIO_URL, media_duration_sec=12.0),
    )


def test_ready_with_usage() -> None:
    """Usage, uncertainty and the URL of an earlier task are taken from its reply."""
    reply = {
        "status": "ready",
        "data": [{**window(0, 5.3), "embedding_uncertainty": [0, 0.5, 1]}],
        "metadata": {"input_type": "audio", "input_url": "https://example.test/b.mp3", "duration": 12},
        "usage": {"input_tokens": {"audio": 300}, "truncated": False},
    }
    summary = ReplySummary(
        "marengo3.5",
        input_url="https://example.test/b.mp3",
        truncated=False,
        media_duration_sec=12.0,
        input_tokens={"audio": 300},
    )
    segments = [Segment(VECTOR, 0.0, 5.3, "audio", "clip", packed([0, 0.5, 1]))]
    wanted = call(AudioInput("k", TaskSource("t1")), NEW, has_uncertainty=True)
    assert same(reply, wanted) == TaskReply(TaskStatus.READY, segments, summary)


@pytest.mark.parametrize("status", ["processing", "pending", "queued", "a stage of tomorrow"])
@pytest.mark.parametrize("more", [{"data": None}, {"data": []}, {}, {"data": None, "metadata": None, "error": None}])
def test_processing(status: str, more: Any) -> None:
    """Every status but ready and failed is one of processing, with data that is null, empty or missing."""
    assert same({"status": status, **more}) == TaskReply(TaskStatus.PROCESSING, [], EMPTY)


def test_segments_before_the_end() -> None:
    """Segments of a task that is not ready are not its result."""
    assert same({"status": "processing", "data": [window(0, 6)]}) == TaskReply(TaskStatus.PROCESSING, [], EMPTY)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"message": "Content exceeds the model's context window."}, "Content exceeds the model's context window."),
        ({"message": f"no\n{KEY}"}, "no [key]"),
        ({}, ""),
        (None, ""),
        ("a string", "a string"),
        ([{"message": "in a list"}], "in a list"),
    ],
)
def test_failed(error: Any, message: str) -> None:
    """A failed task has the sanitized message of its error, or none."""
    expected = TaskReply(TaskStatus.FAILED, [], EMPTY, message)
    assert same({"status": "failed", "data": None, "error": error}) == expected
    assert not message or message not in repr(expected)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        pytest.param({"status": "ready"}, "its task is ready and has no segments", id="ready without data"),
        pytest.param({"status": "ready", "data": []}, "its task is ready and has no segments", id="ready, empty"),
        pytest.param({"status": "ready", "data": [1]}, "its segments are not a list of objects", id="numbers"),
        pytest.param({"status": "ready", "data": {}}, "its segments are not a list of objects", id="object"),
        pytest.param({"data": None}, "its task has no status", id="no status"),
        pytest.param({"status": None}, "its task has no status", id="status null"),
        pytest.param({"status": ["ready"]}, "its task has no status", id="status a list"),
        pytest.param({"status": ""}, "its task has no status", id="status empty"),
        pytest.param(
            {"status": "ready", "data": [{"embedding": [1, 2, 3]}]}, "an audio segment has no start_sec", id="no start"
        ),
        pytest.param(b'{"status":"ready","data":[', "it is truncated", id="truncated"),
        pytest.param(b"", "it is truncated", id="nothing"),
        pytest.param(b"[]", "it is not a JSON object", id="list"),
    ],
)
def test_malformed(reply: Any, fault: str) -> None:
    """A reply without a status, or a result without usable segments, is refused with the fault."""
    assert same(reply) == fault


def test_one_vector_is_no_exception() -> None:
    """A task of Marengo 3.5 has windows with a start, unlike its synchronous replies."""
    reply = {"status": "ready", "data": [{"embedding": [1, 2, 3]}]}
    assert same(reply, call(AUDIO, NEW)) == "an audio segment has no start_sec"


def test_many_segments() -> None:
    """Segments are decoded as their bytes arrive: a fault is known before the end."""
    parser = TaskReplyParser(call(AUDIO))
    parser.feed(b'{"status":"ready","data":[')
    for second in range(3000):
        parser.feed(json.dumps(window(second, second + 1)).encode() + b",")
    assert parser.fault is None
    parser.feed(b'{"embedding":[1]}')
    assert str(parser.fault) == "a vector does not have 3 dimensions"
    with pytest.raises(MalformedReplyError, match="3 dimensions"):
        parser.finish()


@pytest.mark.parametrize("value", ["64f8d2c7e4a1b37f8a9c5d12", "A-b_9", "x" * 128])
def test_identifiers(value: str) -> None:
    """An identifier of letters, digits, hyphens and underscores is accepted."""
    assert identifier(value, KEY) == identifier(value, None) == value


@pytest.mark.parametrize("value", [None, 5, "", "a/b", "a b", "a\n", "é", "x" * 129, "../assets"])
def test_invalid_identifiers(value: object) -> None:
    """An identifier that is not safe in a path is malformed."""
    with pytest.raises(UpstreamFailure, match="identifier"):
        identifier(value, KEY)


@pytest.mark.parametrize("value", [KEY, f"t-{KEY}"])
def test_identifier_with_the_key(value: str) -> None:
    """An identifier that contains the key is malformed: it would be passed on to the caller and logged."""
    with pytest.raises(UpstreamFailure, match="contains the API key") as raised:
        identifier(value, KEY)
    assert KEY not in raised.value.message
