"""Requests with uploads."""

import asyncio

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.config.settings import MAX_UPLOAD_BYTES
from embedwire_server.core.inputs import AudioInput, FileSource, ImageInput, Limits
from embedwire_server.core.models import BUILT_IN, ModelTable
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.media.spool import SpooledUpload
from embedwire_server.rpc.decode import RequestReader
from tests.unit.rpc.decode_support import audio, faults, image, reader, request, text, upload


def test_uploads() -> None:
    """Each upload is opened under its index, with its declared properties and the path for its errors."""
    message = request(
        audio(upload=upload(size_bytes=200, sha256=b"h" * 32, file_name="a.mp3", media_type="audio/mpeg")),
        text(),
        image(upload=upload()),
    )
    read, uploads = reader().read_upload(message)
    assert list(uploads) == [0, 2]
    first, _, last = read.inputs
    assert first == AudioInput("", FileSource(uploads[0], "a.mp3", "audio/mpeg"))
    assert last == ImageInput("", FileSource(uploads[2], "upload", "application/octet-stream"))
    known = uploads[0].declaration
    assert (known.field, known.limit, known.size, known.sha256) == (
        "request.inputs[0].audio.source.upload",
        200,
        200,
        b"h" * 32,
    )
    unknown = uploads[2].declaration
    assert (unknown.limit, unknown.size, unknown.sha256) == (100, None, None)


@pytest.mark.parametrize(
    ("item", "field", "words"),
    [
        pytest.param(image(upload=upload(size_bytes=0)), "image.source.upload.size_bytes", "1 to 100", id="size 0"),
        pytest.param(
            image(upload=upload(size_bytes=-1)), "image.source.upload.size_bytes", "got -1", id="negative size"
        ),
        pytest.param(
            image(upload=upload(size_bytes=101)), "image.source.upload.size_bytes", "1 to 100", id="large image"
        ),
        pytest.param(
            audio(upload=upload(size_bytes=201)), "audio.source.upload.size_bytes", "1 to 200", id="large audio"
        ),
        pytest.param(
            image(upload=upload(sha256=b"")), "image.source.upload.sha256", "32 bytes, got 0", id="empty hash"
        ),
        pytest.param(image(upload=upload(sha256=b"h" * 64)), "image.source.upload.sha256", "got 64", id="hash in hex"),
        pytest.param(image(upload=upload(file_name="\n")), "image.source.upload.file_name", "control", id="file name"),
        pytest.param(
            image(upload=upload(media_type="x")),
            "image.source.upload.media_type",
            "a media type such as",
            id="media type",
        ),
        pytest.param(image(url="x"), "image.source.url", "http", id="URL beside uploads"),
        pytest.param(text(""), "text.value", "empty", id="text beside uploads"),
    ],
)
def test_upload_rules(item: pb.Input, field: str, words: str) -> None:
    """Uploads have the same rules, with paths relative to the message of that call."""
    found = faults(lambda: reader().read_upload(request(item)))
    assert list(found) == [f"request.inputs[0].{field}"]
    assert words in found[f"request.inputs[0].{field}"]


@pytest.mark.parametrize("message", [request(text(), model=""), request(), request(*[text()] * 4)])
def test_upload_prefix(message: pb.CreateEmbeddingRequest) -> None:
    """Violations of the request as a whole have the prefix as well."""
    assert all(field.startswith("request.") for field in faults(lambda: reader().read_upload(message)))


async def test_open_uploads() -> None:
    """The number of open uploads is limited per call."""
    message = request(*[image(upload=upload())] * 3)
    asked = reader()
    _, uploads = asked.read_upload(message)
    assert all(isinstance(item, SpooledUpload) for item in uploads.values())
    await uploads[0].open()
    await uploads[1].open()
    third = asyncio.create_task(uploads[2].open())
    await asyncio.sleep(0)
    assert not third.done()
    _, others = asked.read_upload(message)
    await others[0].open()
    assert not third.done()
    uploads[0].close()
    await third
    for item in (*uploads.values(), *others.values()):
        item.close()


@pytest.mark.parametrize(("limit", "is_raisable"), [(MAX_UPLOAD_BYTES - 1, True), (MAX_UPLOAD_BYTES, False)])
def test_a_file_above_the_highest_limit(*, limit: int, is_raisable: bool) -> None:
    """The message for a large file names the setting, unless the setting has its highest value already."""
    reading = RequestReader(ModelTable(BUILT_IN), Limits(upload_bytes=limit), 2, ContentMemory(1 << 20))
    message = request(audio(upload=upload(size_bytes=limit + 1)), model="marengo3.0")
    (description,) = faults(lambda: reading.read_upload(message)).values()
    assert "use url or asset for a larger one" in description
    assert ("request_limits.upload_bytes" in description) is is_raisable
