"""Every form of a successful call of the official SDK."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from twelvelabs.types import EmbeddingResponse

from embedwire_sandbox import Sandbox
from tests.e2e.sandbox.official import Create
from tests.support.media import Pipe, flac, mp3, png, wav

OLD, NEW = "Marengo-retrieval-2.7", "marengo3.0"


def opened(path: Path, content: bytes, position: int = 0) -> BinaryIO:
    path.write_bytes(content)
    file = path.open("rb")
    file.seek(position)
    return file


FILE_FORMS: dict[str, tuple[Callable[[Path, bytes], Any], str | None]] = {
    "file": (lambda folder, content: opened(folder / "pic.png", content), "pic.png"),
    "partly-read file": (lambda folder, content: opened(folder / "pic.png", content, 40), "pic.png"),
    "non-ascii name": (lambda folder, content: opened(folder / "Bäume und 木.png", content), "Bäume und 木.png"),
    "quoted name": (lambda folder, content: opened(folder / 'a "b"; c; d.png', content), 'a "b"; c; d.png'),
    "bytes": (lambda _, content: content, "upload"),
    "BytesIO": (lambda _, content: io.BytesIO(content), "upload"),
    "pipe": (lambda _, content: Pipe(content), "upload"),
    "name and bytes": (lambda _, content: ("x.jpg", content), "x.jpg"),
    "no name": (lambda _, content: (None, content), None),
    "name, bytes, type": (lambda _, content: ("x.png", content, "text/plain"), "x.png"),
    "name, bytes, type, headers": (lambda _, content: ("x", content, "image/png", {"X-Extra": "1"}), "x"),
    "backslash in name": (lambda _, content: ("C:\\x.png", content), "C:\\x.png"),
}


def vector(embedding: Any, index: int = 0) -> list[float]:
    numbers: list[float] = embedding.segments[index].float_
    return numbers


@pytest.mark.parametrize(("model", "dimensions"), [(OLD, 1024), (NEW, 512)])
async def test_text(sandbox: Sandbox, create: Create, model: str, dimensions: int) -> None:
    """A text gives one unit vector of the model's dimensions, the model's name, and nothing else."""
    reply = await create(sandbox, model_name=model, text="héllo\r\nwörld 木")

    assert reply.text_embedding
    assert model == reply.model_name
    assert [dimensions] == [len(segment.float_ or []) for segment in reply.text_embedding.segments or []]
    assert np.linalg.norm(vector(reply.text_embedding)) == pytest.approx(1, abs=1e-6)
    assert reply.dict() == {"model_name": model, "text_embedding": reply.text_embedding.dict()}
    assert not hasattr(reply.text_embedding.segments[0], "start_offset_sec")  # type: ignore[index]


@pytest.mark.parametrize("alias", ["marengo-retrieval-2.7", "marengo2.7"])
async def test_aliases(sandbox: Sandbox, create: Create, alias: str) -> None:
    """The other spellings of Marengo 2.7 are accepted, and the reply has the canonical one."""
    assert (await create(sandbox, model_name=alias, text="x")).model_name == OLD


@pytest.mark.parametrize("form", FILE_FORMS)
async def test_image_file(sandbox: Sandbox, create: Create, tmp_path: Path, form: str) -> None:
    """An image is accepted in every form that the SDK can send, and the reply has its file name."""
    make, name = FILE_FORMS[form]
    given = make(tmp_path, png())
    try:
        reply = await create(sandbox, model_name=NEW, image_file=given)
    finally:
        if hasattr(given, "close"):
            given.close()

    assert reply.image_embedding
    assert reply.image_embedding.metadata
    assert len(vector(reply.image_embedding)) == 512
    assert name == reply.image_embedding.metadata.input_filename
    assert (form == "pipe") == (sandbox.journal[-1].content_length is None)


@pytest.mark.parametrize("encoded", [wav(7), flac(7), mp3(7)], ids=["wav", "flac", "mp3"])
async def test_audio_file(sandbox: Sandbox, create: Create, encoded: bytes) -> None:
    """Each format gives the windows of Marengo 3.0, twice, whatever its declared type and name."""
    reply = await create(sandbox, model_name=NEW, audio_file=("sound.txt", encoded, "text/plain"))

    assert reply.audio_embedding
    assert reply.audio_embedding.metadata
    assert reply.audio_embedding.metadata.input_filename == "sound.txt"
    assert [
        (segment.start_offset_sec, segment.end_offset_sec, segment.embedding_option)  # type: ignore[attr-defined]
        for segment in reply.audio_embedding.segments or []
    ] == [(0, 6, "audio"), (0, 6, "transcription"), (6, 7, "audio"), (6, 7, "transcription")]


async def test_audio_of_the_older_model(sandbox: Sandbox, create: Create) -> None:
    """Marengo 2.7 cuts equal windows and gives neither an end nor an option."""
    reply = await create(sandbox, model_name=OLD, audio_file=wav(16, rate=8000))

    assert reply.audio_embedding
    segments = reply.audio_embedding.segments or []
    assert [segment.start_offset_sec for segment in segments] == [0, 8]
    assert all(segment.dict().keys() == {"float", "start_offset_sec"} for segment in segments)


@pytest.mark.parametrize("offset", [0, 1, 1.0, 1.5, 1e-07, 0.30000000000000004, "2.5", "+1", ".5", "1.", None])
async def test_offsets(sandbox: Sandbox, create: Create, offset: Any) -> None:
    """Every notation of an offset is read; segments count from the beginning of the file."""
    reply = await create(sandbox, model_name=NEW, audio_file=wav(8, rate=8000), audio_start_offset_sec=offset)

    assert reply.audio_embedding
    segments = reply.audio_embedding.segments or []
    start = float(offset or 0)
    assert segments[0].start_offset_sec == pytest.approx(start, abs=1e-6)
    assert segments[0].end_offset_sec == pytest.approx(min(start + 6, 8), abs=1e-6)
    assert segments[-1].end_offset_sec == 8


async def test_urls(sandbox: Sandbox, create: Create, media_url: str) -> None:
    """Media is fetched from loopback URLs, and the reply has the URL."""
    reply = await create(
        sandbox, model_name=NEW, image_url=f"{media_url}/picture", audio_url=f"{media_url}/sound", text="three of them"
    )

    assert reply.image_embedding
    assert reply.image_embedding.metadata
    assert reply.audio_embedding
    assert reply.audio_embedding.metadata
    assert f"{media_url}/picture" == reply.image_embedding.metadata.input_url
    assert f"{media_url}/sound" == reply.audio_embedding.metadata.input_url
    assert list(reply.dict()) == ["model_name", "text_embedding", "image_embedding", "audio_embedding"]


async def test_localhost(sandbox: Sandbox, create: Create, media_url: str) -> None:
    """A host name that resolves to a loopback address is fetched."""
    url = media_url.replace("127.0.0.1", "localhost") + "/picture"

    assert (await create(sandbox, model_name=NEW, image_url=url)).image_embedding


async def test_url_overrides_file(sandbox: Sandbox, create: Create, media_url: str) -> None:
    """With both a URL and a file of a modality, the URL is embedded."""
    url = f"{media_url}/picture"
    both = await create(sandbox, model_name=NEW, image_url=url, image_file=b"not even a picture")

    assert both.image_embedding
    assert both.image_embedding.metadata
    assert both.image_embedding.metadata.dict() == {"input_url": url}


async def test_three_files(sandbox: Sandbox, create: Create) -> None:
    """Text, image and audio can be sent in one call and are returned separately."""
    reply = await create(sandbox, model_name=NEW, text="x", image_file=png(), audio_file=wav(2))

    assert reply.text_embedding
    assert reply.image_embedding
    assert reply.audio_embedding
    assert [
        len(part.segments or []) for part in (reply.text_embedding, reply.image_embedding, reply.audio_embedding)
    ] == [1, 1, 2]


async def test_explicit_none(sandbox: Sandbox, create: Create) -> None:
    """An explicit None, which the SDK sends as an empty part, counts as absent."""
    reply: EmbeddingResponse = await create(
        sandbox,
        model_name=NEW,
        image_url=None,
        image_file=png(),
        audio_url=None,
        audio_file=None,
        audio_start_offset_sec=None,
    )

    assert list(reply.dict()) == ["model_name", "image_embedding"]


async def test_first_of_repeated_parts(sandbox: Sandbox, create: Create) -> None:
    """The first of repeated parts is used."""
    first = await create(sandbox, model_name=NEW, text="one")
    both = await create(sandbox, model_name=NEW, text=["one", "two"])
    files = await create(sandbox, model_name=NEW, image_file=[("a.png", png()), ("b.png", b"broken")])

    assert first == both
    assert files.image_embedding
    assert files.image_embedding.metadata
    assert files.image_embedding.metadata.input_filename == "a.png"


@pytest.mark.parametrize(
    ("truncate", "kept"), [("start", "word " * 77), ("end", "first " + "word " * 76)], ids=["start", "end"]
)
async def test_text_truncate(sandbox: Sandbox, create: Create, truncate: str, kept: str) -> None:
    """Marengo 2.7 cuts a long text to 77 tokens at the side given by the additional body parameter."""
    options = {"additional_body_parameters": {"text_truncate": truncate}}
    cut = await create(sandbox, model_name=OLD, text="first " + "word " * 77, request_options=options)

    assert cut == await create(sandbox, model_name=OLD, text=kept)


async def test_long_text_of_the_newer_model(sandbox: Sandbox, create: Create) -> None:
    """Marengo 3.0 cuts a text to 500 tokens at its end without a warning, whatever `text_truncate` is."""
    options = {"additional_body_parameters": {"text_truncate": "none"}}
    cut = await create(sandbox, model_name=NEW, text="word " * 500 + "last", request_options=options)

    assert cut == await create(sandbox, model_name=NEW, text="word " * 500)


async def test_unknown_parts_are_ignored(sandbox: Sandbox, create: Create) -> None:
    """A part that is not in the API is ignored, unless the sandbox is strict."""
    options = {"additional_body_parameters": {"colour": "blue"}}

    assert (await create(sandbox, model_name=NEW, text="x", request_options=options)).text_embedding
