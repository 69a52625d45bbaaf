"""Decoding of valid requests."""

from typing import Any

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.inputs import AudioInput, EmbedRequest, FileSource, ImageInput, TextInput, UrlSource
from embedwire_server.core.models import MARENGO_27, MARENGO_30, Truncate
from embedwire_server.media.in_memory import InMemoryContent
from tests.unit.rpc.decode_support import URL, audio, faults, file, image, reader, request, text


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "http://example.com",
        "HTTPS://EXAMPLE.COM/A.PNG",
        "https://example.com:8443/a?b=c#d",
        "https://example.com:/a",
        "http://[::1]:80/a",
        "http://127.0.0.1/a",
        "https://example.com/user@host",
        "https://bücher.example/ä",
        "https://example.com/a%20b",
        "https://example.com/" + "a" * 20,
    ],
)
def test_good_urls(url: str) -> None:
    """A valid URL is passed on unchanged."""
    assert reader().read(request(image(url=url))).inputs == (ImageInput("", UrlSource(url)),)


def test_good_request() -> None:
    """Every kind of input is decoded, with the defaults of the contract."""
    media = {"file_name": "a b.wav", "media_type": "audio/x-wav"}
    read = reader().read(
        request(
            text("x" * 10, "k" * 256, pb.TRUNCATE_END),
            image(file=file(b"x" * 100)),
            audio(1.5, file=file(b"y" * 200, **media)),
            max_retries=0,
            vector_encoding=pb.VECTOR_ENCODING_FLOAT32_LE,
        )
    )
    assert read == EmbedRequest(
        MARENGO_30,
        (
            TextInput("k" * 256, "x" * 10, Truncate.END),
            ImageInput("", FileSource(InMemoryContent(b"x" * 100), "upload", "application/octet-stream")),
            AudioInput("", FileSource(InMemoryContent(b"y" * 200), "a b.wav", "audio/x-wav"), 1.5),
        ),
        0,
        content_bytes=310,
    )


@pytest.mark.parametrize(("retries", "expected"), [(None, None), (0, 0), (3, 3)])
def test_max_retries(retries: int | None, expected: int | None) -> None:
    """`max_retries` of 0 differs from an absent one."""
    assert reader().read(request(text(), max_retries=retries)).max_retries == expected


@pytest.mark.parametrize("number", [0, 1, 1000])
def test_segments_per_message(number: int) -> None:
    """`max_segments_per_message` may be 0 to 1000."""
    reader().read(request(text(), max_segments_per_message=number))


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"max_segments_per_message": -1}, "max_segments_per_message", "must be 0 to 1000, got -1"),
        ({"max_segments_per_message": 1001}, "max_segments_per_message", "must be 0 to 1000, got 1001"),
        ({"max_retries": -1}, "max_retries", "must not be negative; leave it unset for the server's policy"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], path: str, words: str) -> None:
    """A number out of range is an error that names the field, the limit and the value."""
    assert faults(lambda: reader().read(request(text(), **fields))) == {path: words}


@pytest.mark.parametrize(("offset", "expected"), [(None, None), (0.0, 0.0), (-0.0, 0.0), (1e300, 1e300)])
def test_good_offsets(offset: float | None, expected: float | None) -> None:
    """An offset of 0 differs from an absent one."""
    (item,) = reader().read(request(audio(offset, url=URL))).inputs
    assert item == AudioInput("", UrlSource(URL), expected)


@pytest.mark.parametrize("name", ["Marengo-retrieval-2.7", "marengo-retrieval-2.7", "marengo2.7"])
def test_aliases(name: str) -> None:
    """An alias of a model is resolved to the model."""
    assert reader().read(request(text(), model=name)).model is MARENGO_27


@pytest.mark.parametrize("truncate", [pb.TRUNCATE_NONE, pb.TRUNCATE_START, pb.TRUNCATE_END])
def test_truncate_of_a_model_that_can(truncate: pb.Truncate.ValueType) -> None:
    """A model that supports truncation at either end accepts both."""
    (item,) = reader().read(request(text(truncate=truncate), model="marengo2.7")).inputs
    assert isinstance(item, TextInput)
    assert item.truncate is not None
    assert f"TRUNCATE_{item.truncate.name}" == pb.Truncate.Name(truncate)


def test_unary_request() -> None:
    """The unary request has the same rules and the same meaning."""
    message = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text()], max_retries=1)
    assert reader().read(message) == EmbedRequest(MARENGO_30, (TextInput("", "a fox"),), 1, content_bytes=5)
    assert list(faults(lambda: reader().read(pb.CreateEmbeddingUnaryRequest()))) == ["model_name", "inputs"]


def test_at_the_limits() -> None:
    """The maximum number of inputs is accepted."""
    assert len(reader().read(request(*[text()] * 3)).inputs) == 3
