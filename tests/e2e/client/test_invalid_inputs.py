"""Inputs that the client or the server refuses."""

import io
from typing import Any

import pytest

from embedwire import Audio, DynamicSegmentation, FixedSegmentation, Image, RequestError, Text
from tests.e2e.client.callers import Connect
from tests.e2e.client.services import Recorder
from tests.support.ports import NO_SERVER
from tests.support.serving import Served


@pytest.mark.parametrize("wrong", ["a", 1, None, ["a"], [Text("a"), b"b"], {"text": "a"}, [[Text("a")]]])
async def test_invalid_inputs_are_refused(connect: Connect, wrong: Any) -> None:
    """Strings, bytes and other types among the inputs are a TypeError that names the index."""
    async with connect(NO_SERVER) as client:
        for make in (client.embed, client.stream):
            with pytest.raises(TypeError):
                await make("m", wrong)


async def test_an_iterable_is_answered_completely_or_refused(connect: Connect) -> None:
    """A generator of inputs is either refused or gives a list with every embedding, never only the first."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        try:
            found = await client.embed("m", (Text(word) for word in ("a", "b")), timeout=10)
        except TypeError:
            return
    assert len(found) == 2


async def test_an_empty_list_is_refused_by_the_server(connect: Connect, served: Served) -> None:
    """An empty list is a RequestError with the violation of the contract."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed("marengo3.0", [], timeout=10)
    assert [violation.field for violation in caught.value.violations] == ["inputs"]


def test_invalid_inputs_are_refused_by_their_constructor() -> None:
    """No source, several sources, or one of a wrong type is a TypeError of the input's constructor."""
    wrong: list[dict[str, Any]] = [
        {},
        {"path": "a", "data": b"b"},
        {"url": b"http://media.test"},
        {"path": b"a"},
        {"path": 3},
        {"data": "text"},
        {"data": [1, 2]},
        {"file": b"bytes"},
        {"file": io.StringIO("text")},
        {"chunks": b"bytes"},
        {"chunks": "text"},
        {"chunks": 3},
        {"data": b"a", "key": 1},
        {"data": b"a", "file_name": b"a"},
        {"data": b"a", "media_type": None},
        {"asset_id": 1},
        {"asset_id": "a", "url": "http://media.test/a"},
    ]
    for arguments in wrong:
        for kind in (Image, Audio):
            with pytest.raises(TypeError):
                kind(**arguments)
    with pytest.raises(TypeError):
        Text(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key"):
        Text("a", key=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="start_offset_sec"):
        Audio(data=b"a", start_offset_sec="2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="truncate"):
        Text("a", truncate="middle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"end_offset_sec": "2"}, TypeError, "end_offset_sec"),
        ({"segmentation": 6}, TypeError, "segmentation"),
        ({"embedding_options": "audio"}, TypeError, "embedding_options"),
        ({"embedding_scopes": None}, TypeError, "embedding_scopes"),
        ({"embedding_types": [1]}, TypeError, r"embedding_types\[0\]"),
        ({"processing_mode": "fast"}, ValueError, "processing_mode"),
        ({"task_id": "t"}, TypeError, "exactly one of .* task_id; got data and task_id"),
    ],
)
def test_invalid_options_of_audio_are_refused(arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    """An option of audio with a wrong type, or an unknown mode, is an error of the constructor that names it."""
    with pytest.raises(error, match=named):
        Audio(data=b"a", **arguments)


def test_a_task_is_a_source_of_audio_only() -> None:
    """An image has no argument for a task."""
    with pytest.raises(TypeError, match="task_id"):
        Image(task_id="t")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [FixedSegmentation, DynamicSegmentation])
@pytest.mark.parametrize(
    ("value", "error"), [(1.5, TypeError), (True, TypeError), (0, ValueError), (2**31, ValueError)]
)
def test_invalid_segmentations_are_refused(kind: type, value: Any, error: type[Exception]) -> None:
    """A duration of a segmentation that is no positive int32 is an error that names it."""
    with pytest.raises(error, match="duration_sec"):
        kind(value)
