"""Bodies of v2 requests. Those marked as recorded are what the official SDK 1.3.6 sends."""

import json
from typing import Any

import pytest

from embedwire_server.core.inputs import (
    AssetSource,
    AudioInput,
    FileSource,
    ImageInput,
    Input,
    ProcessingMode,
    Segmentation,
    TaskSource,
    TextInput,
    UrlSource,
)
from embedwire_server.core.models import MARENGO_30, MARENGO_35, Model, TextRules, Truncate
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.base import Job
from embedwire_server.upstreams.http.json_body import JsonBody
from embedwire_server.upstreams.twelvelabs import v2_body
from tests.unit.upstreams.twelvelabs.v2_support import call

DATA = b"RIFF....fake"
FILE = FileSource(InMemoryContent(DATA), "secret name.png", "image/png")
ASSET = AssetSource("6298d673f1090f1100476d4c")
IMAGE_URL = UrlSource("https://example.test/a.png")
AUDIO_URL = UrlSource("https://example.test/a.mp3")
SYNC = ProcessingMode.SYNC
EVERYTHING = AudioInput(
    "k",
    AUDIO_URL,
    0.0,
    12.5,
    Segmentation("fixed", 6),
    ("audio", "transcription"),
    ("clip", "asset"),
    ("separate_embedding", "fused_embedding"),
)


async def body(members: dict[str, Any]) -> str:
    return b"".join([piece async for piece in JsonBody(members)]).decode()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(
            TextInput("k", 'héllo "q" \n 😀'),
            '{"input_type":"text","model_name":"marengo3.0","text":{"input_text":"héllo \\"q\\" \\n 😀"}}',
            id="text",
        ),
        pytest.param(
            ImageInput("k", IMAGE_URL),
            '{"input_type":"image","model_name":"marengo3.0",'
            '"image":{"media_source":{"url":"https://example.test/a.png"}}}',
            id="image by URL",
        ),
        pytest.param(
            ImageInput("k", FILE),
            '{"input_type":"image","model_name":"marengo3.0",'
            '"image":{"media_source":{"base64_string":"UklGRi4uLi5mYWtl"}}}',
            id="image by file",
        ),
        pytest.param(
            ImageInput("k", ASSET),
            '{"input_type":"image","model_name":"marengo3.0",'
            '"image":{"media_source":{"asset_id":"6298d673f1090f1100476d4c"}}}',
            id="image by asset",
        ),
        pytest.param(
            EVERYTHING,
            '{"input_type":"audio","model_name":"marengo3.0","audio":{"media_source":{"url":"https://example.test/a.mp3"},'
            '"start_sec":0.0,"end_sec":12.5,"segmentation":{"strategy":"fixed","fixed":{"duration_sec":6}},'
            '"embedding_option":["audio","transcription"],"embedding_scope":["clip","asset"],'
            '"embedding_type":["separate_embedding","fused_embedding"]}}',
            id="audio with everything",
        ),
    ],
)
async def test_recorded(item: Input, expected: str) -> None:
    """Synchronous requests equal those of the official SDK, byte for byte."""
    assert await body(v2_body.sync(call(item, MARENGO_30), len(DATA))) == expected


async def test_recorded_task() -> None:
    """The creation of a task equals that of the official SDK, byte for byte."""
    item = AudioInput(
        "k",
        ASSET,
        0.0,
        3600.0,
        Segmentation("fixed", 6),
        ("audio", "transcription"),
        ("clip", "asset"),
        ("fused_embedding",),
    )
    assert await body(v2_body.task(call(item, MARENGO_30), 0)) == (
        '{"input_type":"audio","model_name":"marengo3.0",'
        '"audio":{"media_source":{"asset_id":"6298d673f1090f1100476d4c"},"start_sec":0.0,"end_sec":3600.0,'
        '"segmentation":{"strategy":"fixed","fixed":{"duration_sec":6}},"embedding_option":["audio","transcription"],'
        '"embedding_scope":["clip","asset"],"embedding_type":["fused_embedding"]}}'
    )


async def test_recorded_task_of_marengo_35() -> None:
    """The same for Marengo 3.5, which has its own form of segmentation."""
    item = AudioInput("k", ASSET, segmentation=Segmentation("dynamic", 2), options=("audio",), scopes=("clip",))
    assert await body(v2_body.task(call(item, MARENGO_35, has_uncertainty=True), 0)) == (
        '{"input_type":"audio","model_name":"marengo3.5","embedding_uncertainty":true,"embedding_dimension":512,'
        '"audio":{"media_source":{"asset_id":"6298d673f1090f1100476d4c"},'
        '"segmentation":{"temporal":{"strategy":"dynamic","dynamic":{"min_duration_sec":2}}},'
        '"embedding_option":["audio"],"embedding_scope":["clip"]}}'
    )


async def test_recorded_composition() -> None:
    """An image of Marengo 3.5 is the only source of a composition; its name is sent in addition to the SDK's sample."""
    wanted = call(ImageInput("k", FILE), MARENGO_35.with_dimensions(256), has_uncertainty=True)
    found = await body(v2_body.sync(wanted, len(DATA)))
    assert found.replace('"name":"image",', "") == (
        '{"input_type":"multi_input","model_name":"marengo3.5","embedding_uncertainty":true,"embedding_dimension":256,'
        '"multi_input":{"media_sources":[{"media_type":"image","base64_string":"UklGRi4uLi5mYWtl"}]}}'
    )


@pytest.mark.parametrize(
    ("truncate", "sent"),
    [(None, ""), (Truncate.NONE, '"auto_truncate":false,'), (Truncate.END, '"auto_truncate":true,')],
)
async def test_text_of_marengo_35(truncate: Truncate | None, sent: str) -> None:
    """A text of Marengo 3.5 is a composition; whether it may be truncated is sent only if the caller says it."""
    assert await body(v2_body.sync(call(TextInput("k", "a fox", truncate), MARENGO_35), 0)) == (
        f'{{"input_type":"multi_input","model_name":"marengo3.5",{sent}"embedding_dimension":512,'
        '"multi_input":{"input_text":"a fox"}}'
    )


@pytest.mark.parametrize("truncate", [None, *Truncate])
@pytest.mark.parametrize("model", [MARENGO_30, Model("bare", 4)], ids=lambda model: model.name)
def test_models_without_the_parameter(truncate: Truncate | None, model: Model) -> None:
    """Models that do not take the parameter never get it."""
    members = v2_body.sync(call(TextInput("k", "a fox", truncate), model), 0)
    assert members == {"input_type": "text", "model_name": model.name, "text": {"input_text": "a fox"}}


def test_truncation_at_the_start() -> None:
    """A truncation that v2 does not have is never sent as another one."""
    model = Model("m", 4, text=TextRules(9, (Truncate.START,), sends_truncate=True))
    assert "auto_truncate" not in v2_body.sync(call(TextInput("k", "a", Truncate.START), model), 0)


def test_audio_defaults() -> None:
    """Windows, options, scope and type are always explicit, so that audio gives what it gives with v1."""
    assert v2_body.sync(call(AudioInput("k", AUDIO_URL), MARENGO_30), 0)["audio"] == {
        "media_source": {"url": AUDIO_URL.url},
        "segmentation": {"strategy": "fixed", "fixed": {"duration_sec": 6}},
        "embedding_option": ["audio", "transcription"],
        "embedding_scope": ["clip"],
        "embedding_type": ["separate_embedding"],
    }


def test_audio_defaults_of_marengo_35() -> None:
    """The same for a task of Marengo 3.5."""
    assert v2_body.task(call(AudioInput("k", AUDIO_URL), MARENGO_35), 0)["audio"] == {
        "media_source": {"url": AUDIO_URL.url},
        "segmentation": {"temporal": {"strategy": "dynamic", "dynamic": {"min_duration_sec": 2}}},
        "embedding_option": ["audio"],
        "embedding_scope": ["clip"],
    }


def test_type_with_one_option() -> None:
    """With one embedding option no type is sent, since the upstream rejects it; there is nothing to combine."""
    item = AudioInput("k", AUDIO_URL, options=("audio",), types=("separate_embedding",))
    assert "embedding_type" not in v2_body.sync(call(item, MARENGO_30), 0)["audio"]


def test_synchronous_audio_of_marengo_35() -> None:
    """A synchronous request with audio of Marengo 3.5 has no selection: it gives one vector."""
    members = v2_body.sync(call(AudioInput("k", AUDIO_URL, mode=SYNC), MARENGO_35), 0)
    source = {"media_type": "audio", "url": AUDIO_URL.url}
    assert members["multi_input"] == {"media_sources": [source]}


def test_dynamic_windows() -> None:
    """Dynamic windows are sent with their shortest duration."""
    item = AudioInput("k", AUDIO_URL, segmentation=Segmentation("dynamic", 4))
    audio = v2_body.sync(call(item, MARENGO_30), 0)["audio"]
    assert audio["segmentation"] == {"strategy": "dynamic", "dynamic": {"min_duration_sec": 4}}


@pytest.mark.parametrize("source", [FILE, AUDIO_URL])
@pytest.mark.parametrize("model", [MARENGO_30, MARENGO_35], ids=lambda model: model.name)
def test_an_asset_replaces_the_file(source: FileSource | UrlSource, model: Model) -> None:
    """An input for which an asset was created refers to it, and is not sent again."""
    wanted = call(AudioInput("k", source), model, job=Job(asset_id="a1"))
    assert v2_body.task(wanted, 0)["audio"]["media_source"] == {"asset_id": "a1"}
    assert '"asset_id":"a1"' in json.dumps(v2_body.sync(wanted, 0), separators=(",", ":"))


def test_what_has_no_body() -> None:
    """A text as a task, and an earlier task as media, are mistakes of the program."""
    with pytest.raises(TypeError, match="text"):
        v2_body.task(call(), 0)
    with pytest.raises(TypeError, match="earlier task"):
        v2_body.sync(call(AudioInput("k", TaskSource("t"))), 0)


async def test_no_file_name() -> None:
    """No file name is sent: v2 does not have it."""
    for wanted in (call(ImageInput("k", FILE), MARENGO_30), call(ImageInput("k", FILE), MARENGO_35)):
        assert "secret" not in await body(v2_body.sync(wanted, len(DATA)))
