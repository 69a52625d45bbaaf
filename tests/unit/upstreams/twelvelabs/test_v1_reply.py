"""The form for an input, and the interpretation of the envelope."""

from typing import Any

import pytest

from embedwire_server.core.inputs import AudioInput, FileSource, ImageInput, Input, TextInput, UrlSource
from embedwire_server.core.models import MARENGO_27, MARENGO_30, Modality, Model, Truncate
from embedwire_server.core.results import ReplySummary
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http.multipart import Field, File
from embedwire_server.upstreams.twelvelabs import v1_form, v1_reply

CONTENT = InMemoryContent(b"bytes")
URL = UrlSource("https://example.com/a?b=c")
FILE = FileSource(CONTENT, "a b.png", "image/png")


def form_file(modality: str) -> File:
    return File(f"{modality}_file", "a b.png", "image/png", 5, CONTENT)


@pytest.mark.parametrize(
    ("item", "model", "expected"),
    [
        pytest.param(TextInput("k", "a fox"), MARENGO_27, [Field("text", "a fox")], id="text"),
        pytest.param(
            TextInput("k", "a fox", Truncate.START),
            MARENGO_27,
            [Field("text", "a fox"), Field("text_truncate", "start")],
            id="text, truncate start",
        ),
        pytest.param(
            TextInput("k", "a fox", Truncate.NONE),
            MARENGO_27,
            [Field("text", "a fox"), Field("text_truncate", "none")],
            id="text, truncate none",
        ),
        pytest.param(
            TextInput("k", "a fox", Truncate.END), MARENGO_30, [Field("text", "a fox")], id="text, model cuts by itself"
        ),
        pytest.param(
            TextInput("k", "a fox", Truncate.END),
            Model("bare", 4),
            [Field("text", "a fox")],
            id="text, model without rules",
        ),
        pytest.param(ImageInput("k", URL), MARENGO_30, [Field("image_url", URL.url)], id="image by URL"),
        pytest.param(ImageInput("k", FILE), MARENGO_30, [form_file("image")], id="image by file"),
        pytest.param(AudioInput("k", URL), MARENGO_30, [Field("audio_url", URL.url)], id="audio by URL"),
        pytest.param(
            AudioInput("k", URL, 1.5),
            MARENGO_30,
            [Field("audio_url", URL.url), Field("audio_start_offset_sec", "1.5")],
            id="audio by URL, offset",
        ),
        pytest.param(AudioInput("k", FILE), MARENGO_30, [form_file("audio")], id="audio by file"),
        pytest.param(
            AudioInput("k", FILE, 0.0),
            MARENGO_30,
            [Field("audio_start_offset_sec", "0.0"), form_file("audio")],
            id="audio by file, offset of zero",
        ),
    ],
)
def test_parts(item: Input, model: Model, expected: list[Field | File]) -> None:
    """Each input becomes its fields in the order of the official SDK: plain fields first, then the file."""
    assert v1_form.parts(item, model, 5) == [Field("model_name", model.name), *expected]


@pytest.mark.parametrize(
    ("offset", "spelling"),
    [(0.1, "0.1"), (6.0, "6.0"), (1234.5678, "1234.5678"), (1 / 3, "0.3333333333333333"), (1e-7, "1e-07")],
)
def test_offset_spelling(offset: float, spelling: str) -> None:
    """An offset is written so that it parses to the same double, as by the official SDK."""
    field = v1_form.parts(AudioInput("k", URL, offset), MARENGO_30, 0)[-1]
    assert field == Field("audio_start_offset_sec", spelling)
    assert float(spelling) == offset


@pytest.mark.parametrize("modality", list(Modality))
def test_embedding_name(modality: Modality) -> None:
    """The member of the reply has the name of the modality."""
    assert v1_reply.embedding_name(modality) == f"{modality.value}_embedding"


def envelope(modality: str = "text", **embedding: Any) -> dict[str, Any]:
    return {"model_name": "m", f"{modality}_embedding": {"segments": [{}]} | embedding}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(envelope(), ReplySummary("m"), id="no metadata"),
        pytest.param(envelope(metadata=None), ReplySummary("m"), id="null metadata"),
        pytest.param(envelope(metadata=[]), ReplySummary("m"), id="metadata of another type"),
        pytest.param(envelope(metadata={"input_url": "u"}), ReplySummary("m", input_url="u"), id="URL"),
        pytest.param(envelope(metadata={"input_filename": "f"}), ReplySummary("m", input_filename="f"), id="file name"),
        pytest.param(envelope(metadata={"input_url": 5, "input_filename": None}), ReplySummary("m"), id="no strings"),
        pytest.param(envelope(error_message=""), ReplySummary("m"), id="empty error"),
        pytest.param(envelope(error_message=None), ReplySummary("m"), id="null error"),
        pytest.param(envelope() | {"image_embedding": {"error_message": "e"}}, ReplySummary("m"), id="another's error"),
        pytest.param(envelope(error_message="e"), v1_reply.Rejection("e"), id="error beside segments"),
        pytest.param(envelope(error_message="e", segments=None), v1_reply.Rejection("e"), id="error, no segments"),
        pytest.param(envelope(error_message="e", segments=[]), v1_reply.Rejection("e"), id="error, empty segments"),
    ],
)
def test_summary(reply: dict[str, Any], expected: ReplySummary | v1_reply.Rejection) -> None:
    """Metadata is read where present, and an error message turns the reply into a rejection."""
    assert v1_reply.summary(reply, Modality.TEXT, 1) == expected


@pytest.mark.parametrize(
    ("reply", "elements"),
    [
        pytest.param({"text_embedding": {"segments": [{}]}}, 1, id="no model_name"),
        pytest.param(envelope() | {"model_name": None}, 1, id="null model_name"),
        pytest.param(envelope() | {"model_name": 3}, 1, id="model_name of another type"),
        pytest.param({"model_name": "m"}, 0, id="no embedding"),
        pytest.param({"model_name": "m", "text_embedding": None}, 0, id="null embedding"),
        pytest.param({"model_name": "m", "text_embedding": [{}]}, 1, id="embedding of another type"),
        pytest.param(envelope("image"), 1, id="another modality"),
        pytest.param(envelope(segments=[]), 0, id="empty segments"),
        pytest.param(envelope(segments=None), 0, id="null segments"),
        pytest.param(envelope(segments=[{}, {}]), 1, id="more segments than were cut out"),
        pytest.param(envelope(segments=[{}]), 2, id="fewer segments than were cut out"),
        pytest.param(envelope(segments=[{}, {}]), 2, id="two segments for one text"),
        pytest.param([{}], 1, id="no object"),
        pytest.param(None, 0, id="null"),
    ],
)
def test_summary_of_malformed(reply: Any, elements: int) -> None:
    """An envelope without a model name, or with another number of segments than read, is malformed."""
    with pytest.raises(MalformedReplyError):
        v1_reply.summary(reply, Modality.TEXT, elements)


def test_audio_has_many_segments() -> None:
    """Only audio may have more than one segment."""
    assert v1_reply.summary(envelope("audio", segments=[{}] * 3), Modality.AUDIO, 3) == ReplySummary("m")
    with pytest.raises(MalformedReplyError, match="3 segments for one image"):
        v1_reply.summary(envelope("image", segments=[{}] * 3), Modality.IMAGE, 3)


def test_private() -> None:
    """The text of a rejection and the content of a form are in no repr."""
    secret = "caller's words"
    assert secret not in repr(v1_reply.Rejection(secret))
    assert secret not in repr(v1_form.parts(TextInput("k", secret), MARENGO_30, 0))


def test_an_error_message_that_is_no_text() -> None:
    """An error_message of another type rejects the input, however deeply it is nested."""
    deep: object = "deep"
    for _ in range(1000):
        deep = [deep]
    envelope = {"model_name": "m", "text_embedding": {"error_message": deep}}

    said = v1_reply.summary(envelope, Modality.TEXT, 0)
    assert isinstance(said, v1_reply.Rejection)
    assert said.message is deep
