"""Replies of the v2 endpoint: those recorded with the official SDK 1.3.6, and faults, each in several splits."""

import json
from typing import Any

import pytest

from embedwire_server.core.inputs import AssetSource, AudioInput, FileSource, ImageInput, ProcessingMode, UrlSource
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.upstreams.twelvelabs.v1_support import MEMBERS, packed, split
from tests.unit.upstreams.twelvelabs.v2_support import AUDIO, AUDIO_URL, KEY, NEW, OLD, Result, at_once, call, outcome

VECTOR = packed([1, 2, 3])
NULLS = {"embedding_option": None, "embedding_scope": None, "start_sec": None, "end_sec": None}
ITEM = {"embedding": [1, 2, 3], **NULLS}
ONE = [Segment(VECTOR)]
SYNC_35 = AudioInput("k", UrlSource(AUDIO_URL), mode=ProcessingMode.SYNC)
IMAGE = ImageInput("k", UrlSource("https://example.test/a.png"))


def same(reply: Any, wanted: EmbedCall | None = None) -> Result:
    """Return the outcome in one piece after a check that other splits have the same."""
    data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    wanted = wanted or call()
    whole = outcome([data], wanted)
    for size in (1, 2, 7) if len(data) < 1 << 16 else (4099, 1 << 16):
        assert outcome(split(data, size), wanted) == whole
    assert at_once(data, wanted) in (None, whole)
    return whole


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param({"data": [{"embedding": [1, 2, 3]}]}, id="only an embedding"),
        pytest.param({"data": [ITEM]}, id="as documented"),
        pytest.param({"data": [ITEM], "metadata": None}, id="metadata null"),
        pytest.param({"data": [ITEM], "metadata": {}}, id="metadata empty"),
        pytest.param({"data": [ITEM], "metadata": {"input_type": "text"}}, id="metadata for text"),
        pytest.param({"data": [ITEM], "metadata": {"input_type": "hologram"}}, id="metadata of an unknown type"),
        pytest.param({"data": [ITEM], "metadata": [1]}, id="metadata of another form"),
        pytest.param({"data": [ITEM], "usage": None}, id="usage null"),
        pytest.param({"data": [ITEM], "usage": "3"}, id="usage of another form"),
        pytest.param({"data": [ITEM], "request_id": "r1", "metadata": {"new_field": 1}}, id="unknown members"),
        pytest.param({"data": [{**ITEM, "chunk_index": 0, "quadrant": None}]}, id="unknown members of a segment"),
        pytest.param(
            {"data": [{**ITEM, "embedding_option": 5, "start_sec": "x"}]}, id="members that text does not use"
        ),
        pytest.param({"metadata": {"data": [ITEM]}, "data": [ITEM]}, id="the name of the list elsewhere"),
        pytest.param({"data": [{**ITEM, "embedding_uncertainty": [9]}]}, id="an uncertainty that was not requested"),
    ],
)
def test_texts(reply: Any) -> None:
    """A reply for a text gives its vector, whatever members are missing, null or unknown; the model is ours."""
    assert same(reply) == (ONE, ReplySummary("marengo3.0"))


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_unknown_members_never_matter(member: str) -> None:
    """An unknown member with any value at any position does not change the result."""
    for body in (
        f'{{{member},"data":[{{"embedding":[1,2,3]}}]}}',
        f'{{"data":[{{"embedding":[1,2,3]}}],{member}}}',
        f'{{"data":[{{{member},"embedding":[1,2,3]}}]}}',
        f'{{"data":[{{"embedding":[1,2,3],{member}}}],"usage":{{{member}}},"metadata":{{{member}}}}}',
    ):
        assert same(body.encode()) == (ONE, ReplySummary("marengo3.0"))


@pytest.mark.parametrize(
    ("usage", "truncated", "tokens"),
    [
        ({"input_tokens": {"text": 3}, "truncated": False}, False, {"text": 3}),
        ({"input_tokens": {"text": 2000}, "truncated": True, "truncation_reason": "x"}, True, {"text": 2000}),
        ({"input_tokens": {"text": 0, "image": 7}}, None, {"text": 0, "image": 7}),
        ({"input_tokens": {}, "truncated": False}, False, None),
        ({"input_tokens": {"a": -1, "b": 1.0, "c": True, "d": None, "e": 1 << 63, "f": 1}}, None, {"f": 1}),
        ({"input_tokens": [3], "truncated": 1}, None, None),
        ({"input_tokens": {"x" * 65: 1, KEY: 2}}, None, {"[key]": 2}),
        ({"input_tokens": {f"k{index}": index for index in range(20)}}, None, {f"k{i}": i for i in range(16)}),
    ],
)
def test_usage(usage: Any, truncated: bool | None, tokens: dict[str, int] | None) -> None:  # noqa: FBT001
    """Of the usage, whether the text was truncated and counts of tokens are taken, as far as they are valid."""
    expected = ReplySummary("marengo3.5", truncated=truncated, input_tokens=tokens)
    assert same({"data": [ITEM], "usage": usage}, call(model=NEW)) == (ONE, expected)


def test_images() -> None:
    """A reply for an image has the URL that the upstream names, else that of the caller."""
    assert same({"data": [ITEM]}, call(IMAGE))[1] == ReplySummary("marengo3.0", input_url="https://example.test/a.png")
    metadata = {"input_type": "image", "input_url": "https://example.test/b.png"}
    expected = ReplySummary("marengo3.0", input_url="https://example.test/b.png")
    assert same({"data": [ITEM], "metadata": metadata}, call(IMAGE)) == (ONE, expected)


def test_file_names() -> None:
    """The name of a file is the caller's, also if it was sent as an asset of another name; else the upstream's."""
    reply = {"data": [ITEM], "metadata": {"input_type": "image", "input_filename": "of the asset.png"}}
    file = FileSource(InMemoryContent(b"x"), "the caller's.png", "image/png")
    asset = ImageInput("k", AssetSource("a1"))
    assert same(reply, call(ImageInput("k", file)))[1] == ReplySummary("marengo3.0", input_filename="the caller's.png")
    assert same(reply, call(asset))[1] == ReplySummary("marengo3.0", input_filename="of the asset.png")


def window(option: str | None, scope: str | None, start: float, end: float | None) -> dict[str, Any]:
    return {
        "embedding": [1, 2, 3],
        "embedding_option": option,
        "embedding_scope": scope,
        "start_sec": start,
        "end_sec": end,
    }


def test_audio() -> None:
    """Segments of audio are in the upstream's order, with option and scope, also unknown ones."""
    windows = [
        window("transcription", "asset", 0, 12),
        window("audio", "clip", 6.5, 12),
        window("fused", "clip", 0, 6.5),
        window("humming", "chapter", 0, None),
        window(None, None, 1, 2),
    ]
    metadata = {"input_type": "audio", "input_url": AUDIO_URL, "duration": 12.0}
    segments, summary = same({"data": windows, "metadata": metadata}, call(AUDIO))
    assert segments == [
        Segment(VECTOR, 0.0, 12.0, "transcription", "asset"),
        Segment(VECTOR, 6.5, 12.0, "audio", "clip"),
        Segment(VECTOR, 0.0, 6.5, "fused", "clip"),
        Segment(VECTOR, 0.0, None, "humming", "chapter"),
        Segment(VECTOR, 1.0, 2.0, "", ""),
    ]
    assert summary == ReplySummary("marengo3.0", input_url=AUDIO_URL, media_duration_sec=12.0)


@pytest.mark.parametrize("duration", [None, "12", -1, True, [12]])
def test_durations_that_are_none(duration: Any) -> None:
    """A duration that is no number of seconds counts as missing."""
    _, summary = same({"data": [window("a", "b", 0, 1)], "metadata": {"duration": duration}}, call(AUDIO))
    assert summary == ReplySummary("marengo3.0", input_url=AUDIO_URL)


def test_audio_without_a_start() -> None:
    """A window without a start is refused, except for the one vector that Marengo 3.5 gives of a whole file."""
    assert same({"data": [ITEM]}, call(AUDIO)) == ([], "an audio segment has no start_sec")
    segments, _ = same({"data": [ITEM], "metadata": {"duration": 12}}, call(SYNC_35, NEW))
    assert segments == [Segment(VECTOR, 0.0)]
    segments, _ = same({"data": [window("audio", "asset", 2, 5)]}, call(SYNC_35, NEW))
    assert segments == [Segment(VECTOR, 2.0, 5.0, "audio", "asset")]


@pytest.mark.parametrize("wanted", [call(), call(IMAGE), call(SYNC_35, NEW)], ids=["text", "image", "audio of 3.5"])
def test_inputs_with_one_vector(wanted: EmbedCall) -> None:
    """A text, an image, and synchronous audio of Marengo 3.5 have exactly one segment."""
    assert same({"data": [ITEM, ITEM]}, wanted)[1] == f"it has 2 segments for one {wanted.modality}"


@pytest.mark.parametrize("wanted", [call(model=NEW, has_uncertainty=True), call(SYNC_35, NEW, has_uncertainty=True)])
def test_uncertainty(wanted: EmbedCall) -> None:
    """The uncertainty of a vector is packed like it, if it was requested; it may be missing."""
    segments, _ = same({"data": [{**ITEM, "embedding_uncertainty": [0.5, 0, 1e-3]}]}, wanted)
    assert [(segment.vector, segment.uncertainty) for segment in segments] == [(VECTOR, packed([0.5, 0, 1e-3]))]
    for item in (ITEM, {**ITEM, "embedding_uncertainty": None}):
        segments, _ = same({"data": [item]}, wanted)
        assert [(segment.vector, segment.uncertainty) for segment in segments] == [(VECTOR, None)]


@pytest.mark.parametrize(
    ("uncertainty", "fault"),
    [
        ([1, 2], "3 dimensions"),
        ([1, 2, None], "not a number"),
        ([1, 2, [3]], "not a number"),
        ("x", "no vector"),
        ([1, 2, 1e39], "range of float32"),
    ],
)
def test_invalid_uncertainties(uncertainty: Any, fault: str) -> None:
    """An uncertainty that is not a vector of the same length is refused."""
    _, end = same({"data": [{**ITEM, "embedding_uncertainty": uncertainty}]}, call(model=NEW, has_uncertainty=True))
    assert fault in str(end)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(b'{"data":[]}', "it has no segments", id="empty"),
        pytest.param(b'{"data":null}', "it has no segments", id="null"),
        pytest.param(b'{"metadata":null}', "it has no segments", id="missing"),
        pytest.param(b"{}", "it has no segments", id="empty object"),
        pytest.param(b'{"data":{"embedding":[1,2,3]}}', "its segments are not a list of objects", id="object"),
        pytest.param(b'{"data":[1]}', "its segments are not a list of objects", id="number"),
        pytest.param(b'{"data":[[1]]}', "its segments are not a list of objects", id="list of numbers"),
        pytest.param(b'{"data":[["a"]]}', "a segment has no vector", id="list of strings"),
        pytest.param(
            b'{"data":[{"embedding":[1,2,3]}],"data":[]}', "its segments are not a list of objects", id="twice"
        ),
        pytest.param(b'{"data":[{"embedding":null}]}', "a segment has no vector", id="embedding null"),
        pytest.param(b'{"data":[{"float":[1,2,3]}]}', "a segment has no vector", id="the name of v1"),
        pytest.param(b'{"data":[{"embedding":[1,2]}]}', "a vector does not have 3 dimensions", id="too short"),
        pytest.param(
            b'{"data":[{"embedding":[1,2,null]}]}', "a vector has an element that is not a number", id="null inside"
        ),
        pytest.param(
            b'{"data":[{"embedding":[NaN,1,1e400]}]}', "a vector has a number outside the range of float32", id="NaN"
        ),
        pytest.param(b'{"data":[{"embedding":[1,2,3]}]', "it is truncated", id="truncated"),
        pytest.param(b"", "it is truncated", id="nothing"),
        pytest.param(b"<html></html>", "it is not a JSON object", id="HTML"),
        pytest.param(b'[{"embedding":[1,2,3]}]', "it is not a JSON object", id="list"),
        pytest.param(b'{"data":[{"embedding":[1,2,3]}]}}', "its brackets do not match", id="brackets"),
        pytest.param(b'{"data":[{"embedding":[1,2,3]}],}', "it is not valid JSON", id="no JSON"),
    ],
)
def test_malformed(body: bytes, fault: str) -> None:
    """A reply without a usable vector is refused with the fault, and quotes nothing of the reply."""
    assert same(body)[1] == fault


@pytest.mark.parametrize(
    ("member", "value", "fault"),
    [
        ("start_sec", "0", "an offset is not a number of seconds"),
        ("start_sec", True, "an offset is not a number of seconds"),
        ("end_sec", [1], "an offset is not a number of seconds"),
        ("embedding_option", 5, "an embedding option is not a word"),
        ("embedding_option", "x" * 65, "an embedding option is not a word"),
        ("embedding_scope", "a\nb", "an embedding scope is not a word"),
        ("embedding_scope", {}, "an embedding scope is not a word"),
    ],
)
def test_malformed_windows(member: str, value: Any, fault: str) -> None:
    """A window of audio whose times, option or scope are invalid is refused; those before it are returned."""
    good = window("audio", "clip", 0, 6)
    segments, end = same({"data": [good, {**good, member: value}, good]}, call(AUDIO))
    assert (len(segments), end) == (1, fault)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(r'{"d\u0061ta":[{"embedding":[1,2,3]}]}', id="escaped list"),
        pytest.param(r'{"data":[{"embeddin\u0067":[1,2,3]}]}', id="escaped vector"),
        pytest.param('\ufeff{"data":[{"embedding":[1,2,3]}]}', id="byte order mark"),
        pytest.param(' {"data" : [ {"embedding" : [ 1, 2, 3 ] } ] }\r\n', id="spaces"),
        pytest.param('{"data":[],"data":[{"embedding":[1,2,3]}]}', id="empty list first"),
        pytest.param('{"data":[{"embedding":[9],"embedding":[1,2,3]}]}', id="vector twice"),
    ],
)
def test_other_spellings(body: str) -> None:
    """Escaped names, a byte order mark and white space do not change the result."""
    assert same(body.encode()) == (ONE, ReplySummary("marengo3.0"))


def test_the_usual_reply_is_read_at_once() -> None:
    """The usual replies for a text, with usage as well, are parsed without the scanner; other inputs are not."""
    usage = {"input_tokens": {"text": 3}, "truncated": False}
    for reply in ({"data": [ITEM]}, {"data": [ITEM], "metadata": None}, {"data": [{"embedding": [1, 2, 3]}]}):
        assert at_once(json.dumps(reply).encode(), call()) == (ONE, ReplySummary("marengo3.0"))
    data = json.dumps({"data": [ITEM], "usage": usage}).encode()
    expected = ReplySummary("marengo3.5", truncated=False, input_tokens={"text": 3})
    assert at_once(data, call(model=NEW)) == (ONE, expected)
    assert at_once(data, call(IMAGE)) is None
    assert at_once(data, call(AUDIO, OLD)) is None
    assert at_once(data, call(model=NEW, has_uncertainty=True)) is None
