"""Every rule of the contract, and how its violation is told."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import InvalidRequest
from embedwire_server.core.inputs import AudioInput, EmbedRequest, FileSource, ImageInput, Limits, TextInput, UrlSource
from embedwire_server.core.models import (
    BUILT_IN,
    MARENGO_27,
    MARENGO_30,
    AudioRules,
    ImageRules,
    Model,
    ModelTable,
    TextRules,
    Truncate,
)
from embedwire_server.media.content_memory import ContentMemory
from embedwire_server.media.spool import InMemoryContent, SpooledUpload
from embedwire_server.rpc.decode import RequestReader

TEXT_ONLY = Model("text-only", 4, text=TextRules(10, (Truncate.END,)))
SMALL = Model("small", 4, image=ImageRules(max_bytes=50, min_side_px=1), audio=AudioRules(max_bytes=60))
LIMITS = Limits(inputs=3, image_bytes=100, upload_bytes=200, text_bytes=10, url_chars=40)
URL = "https://example.com/a.png"


def reader() -> RequestReader:
    models = ModelTable((*BUILT_IN, TEXT_ONLY, SMALL))
    return RequestReader(models, LIMITS, open_uploads=2, content_memory=ContentMemory(1 << 20))


def text(value: str = "a fox", key: str = "", truncate: int = 0) -> pb.Input:
    return pb.Input(key=key, text=pb.TextInput(value=value, truncate=truncate))  # type: ignore[arg-type] # unknown ones too


def image(**source: Any) -> pb.Input:
    return pb.Input(image=pb.ImageInput(source=pb.MediaSource(**source)))


def audio(offset: float | None = None, **source: Any) -> pb.Input:
    return pb.Input(audio=pb.AudioInput(source=pb.MediaSource(**source), start_offset_sec=offset))


def file(data: bytes = b"x", **more: str) -> pb.FileSource:
    return pb.FileSource(data=data, **more)


def upload(**more: Any) -> pb.UploadSource:
    return pb.UploadSource(**more)


def request(*inputs: pb.Input, model: str = "marengo3.0", **more: Any) -> pb.CreateEmbeddingRequest:
    return pb.CreateEmbeddingRequest(model_name=model, inputs=inputs, **more)


def faults(read: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read()
    violations = caught.value.violations
    assert caught.value.message.startswith(f"{violations[0].field}: {violations[0].description}")
    return {violation.field: violation.description for violation in violations}


@pytest.mark.parametrize(
    ("message", "field", "words"),
    [
        pytest.param(request(text(), model=""), "model_name", ["required", "marengo3.0", "text-only"], id="no model"),
        pytest.param(request(text(), model="nope"), "model_name", ["marengo3.0", "text-only"], id="unknown model"),
        pytest.param(request(text(), model="MARENGO3.0"), "model_name", ["marengo3.0"], id="model in capitals"),
        pytest.param(request(), "inputs", ["at least one"], id="no inputs"),
        pytest.param(request(*[text()] * 4), "inputs", ["at most 3", "got 4"], id="too many inputs"),
        pytest.param(request(text(), vector_encoding=9), "vector_encoding", ["9"], id="unknown encoding"),
        pytest.param(request(text(key="k" * 257)), "inputs[0].key", ["256", "257"], id="long key"),
        pytest.param(request(text(key="ä" * 129)), "inputs[0].key", ["256", "258"], id="long key in bytes"),
        pytest.param(request(pb.Input()), "inputs[0]", ["text", "image", "audio"], id="no modality"),
        pytest.param(request(text(), pb.Input()), "inputs[1]", ["text"], id="no modality, second"),
        pytest.param(request(text("")), "inputs[0].text.value", ["empty"], id="empty text"),
        pytest.param(request(text("x" * 11)), "inputs[0].text.value", ["10 bytes", "11"], id="long text"),
        pytest.param(request(text("€" * 4)), "inputs[0].text.value", ["10 bytes", "12"], id="long text in bytes"),
        pytest.param(request(text(truncate=9)), "inputs[0].text.truncate", ["9"], id="unknown truncate"),
        pytest.param(
            request(text(truncate=pb.TRUNCATE_NONE)),
            "inputs[0].text.truncate",
            ["marengo3.0", "TRUNCATE_END"],
            id="truncate none",
        ),
        pytest.param(
            request(text(truncate=pb.TRUNCATE_START)), "inputs[0].text.truncate", ["TRUNCATE_END"], id="truncate start"
        ),
        pytest.param(
            request(image(url=URL), model="text-only"), "inputs[0].image", ["text-only"], id="model without images"
        ),
        pytest.param(
            request(audio(url=URL), model="text-only"), "inputs[0].audio", ["text-only"], id="model without audio"
        ),
        pytest.param(request(text(), model="small"), "inputs[0].text", ["small"], id="model without text"),
        pytest.param(request(image()), "inputs[0].image.source", ["url", "file", "upload"], id="no source"),
        pytest.param(
            request(pb.Input(audio=pb.AudioInput())), "inputs[0].audio.source", ["url"], id="no source at all"
        ),
        pytest.param(
            request(image(upload=upload())),
            "inputs[0].image.source.upload",
            ["CreateEmbeddingFromUpload"],
            id="upload in another call",
        ),
        pytest.param(request(image(file=file(b""))), "inputs[0].image.source.file.data", ["empty"], id="empty file"),
        pytest.param(
            request(image(file=file(b"x" * 101))), "inputs[0].image.source.file.data", ["100", "101"], id="large image"
        ),
        pytest.param(
            request(audio(file=file(b"x" * 201))), "inputs[0].audio.source.file.data", ["200", "201"], id="large audio"
        ),
        pytest.param(
            request(image(file=file(b"x" * 51)), model="small"),
            "inputs[0].image.source.file.data",
            ["50", "51"],
            id="image above the model's limit",
        ),
        pytest.param(
            request(audio(file=file(b"x" * 61)), model="small"),
            "inputs[0].audio.source.file.data",
            ["60", "61"],
            id="audio above the model's limit",
        ),
        pytest.param(
            request(image(file=file(file_name="n" * 256))),
            "inputs[0].image.source.file.file_name",
            ["255"],
            id="long file name",
        ),
        pytest.param(
            request(image(file=file(file_name="ä" * 128))),
            "inputs[0].image.source.file.file_name",
            ["255"],
            id="long file name in bytes",
        ),
        *(
            pytest.param(
                request(image(file=file(file_name=f"a{char}b"))),
                "inputs[0].image.source.file.file_name",
                ["control"],
                id=f"{char!r} in a file name",
            )
            for char in "\x00\r\n\t\x7f\x85"
        ),
        *(
            pytest.param(
                request(image(file=file(media_type=media_type))),
                "inputs[0].image.source.file.media_type",
                ["audio/mpeg"],
                id=f"media type {media_type!r}",
            )
            for media_type in (
                "image",
                "image/",
                "/png",
                "a/b/c",
                "a/b; q=1",
                "a/b\r\nX: 1",
                "a/b\n",
                "ä/b",
                "a/" + "b" * 128,
            )
        ),
        *(
            pytest.param(
                request(audio(offset, url=URL)),
                "inputs[0].audio.start_offset_sec",
                ["finite", "0 or more"],
                id=f"offset {offset}",
            )
            for offset in (math.nan, math.inf, -math.inf, -1.0, -1e-300)
        ),
    ],
)
def test_rules(message: pb.CreateEmbeddingRequest, field: str, words: list[str]) -> None:
    """Each rule is told under the path of its field, with its limit and what to do; nothing else is faulted."""
    found = faults(lambda: reader().read(message))
    assert list(found) == [field]
    assert all(word in found[field] for word in words), found


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("", "http://", id="empty"),
        pytest.param("example.com/a.png", "http://", id="no scheme"),
        pytest.param("//example.com/a.png", "http://", id="relative scheme"),
        pytest.param("ftp://example.com/a", "http://", id="FTP"),
        pytest.param("file:///etc/passwd", "send a local file", id="local file"),
        pytest.param("javascript:alert(1)", "http://", id="script"),
        pytest.param("http:example.com", "http://", id="no slashes"),
        pytest.param("https://", "no host", id="nothing after the scheme"),
        pytest.param("https:///a.png", "no host", id="no host"),
        pytest.param("https://:443/a.png", "no host", id="port without a host"),
        pytest.param("https://?a=b", "no host", id="query without a host"),
        pytest.param("https://u:p@example.com/", "user info", id="user and password"),
        pytest.param("https://u@example.com/", "user info", id="user"),
        pytest.param("https://@example.com/", "user info", id="empty user"),
        pytest.param("https://a\\@example.com/", "user info", id="backslash before a user"),
        pytest.param("https://example.com/a b", "spaces", id="space"),
        pytest.param(" https://example.com/", "spaces", id="leading space"),
        pytest.param("https://example.com/\n", "control", id="line end"),
        pytest.param("https://example.com/\x00", "control", id="NUL"),
        pytest.param("https://exam\tple.com/", "control", id="tab"),
        pytest.param("https://example.com/\x85", "control", id="C1 control"),
        pytest.param("https://example.com:99999/", "not a valid URL", id="port beyond the last"),
        pytest.param("https://example.com:http/", "not a valid URL", id="port by name"),
        pytest.param("https://example.com:-1/", "not a valid URL", id="negative port"),
        pytest.param("https://[::1/", "not a valid URL", id="open bracket"),
        pytest.param("https://[::zz]/", "not a valid URL", id="no IPv6"),
        pytest.param("https://a\uff0fb/", "not a valid URL", id="host that becomes a path"),
        pytest.param("https://example.com/" + "a" * 21, "at most 40 characters", id="too long"),
    ],
)
@pytest.mark.parametrize("media", [image, audio])
def test_urls(media: Callable[..., pb.Input], url: str, words: str) -> None:
    """A URL must be absolute, http or https, without user info, and well formed."""
    kind = "image" if media is image else "audio"
    found = faults(lambda: reader().read(request(media(url=url))))
    assert list(found) == [f"inputs[0].{kind}.source.url"]
    assert words in found[f"inputs[0].{kind}.source.url"]


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
    """A good URL is passed on to the letter."""
    assert reader().read(request(image(url=url))).inputs == (ImageInput("", UrlSource(url)),)


def test_good_request() -> None:
    """Every kind of input becomes its value, with the defaults that the contract names."""
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
    """That no retries are wished is something else than no word of it."""
    assert reader().read(request(text(), max_retries=retries)).max_retries == expected


@pytest.mark.parametrize(("offset", "expected"), [(None, None), (0.0, 0.0), (-0.0, 0.0), (1e300, 1e300)])
def test_good_offsets(offset: float | None, expected: float | None) -> None:
    """An offset of zero is something else than no word of it."""
    (item,) = reader().read(request(audio(offset, url=URL))).inputs
    assert item == AudioInput("", UrlSource(URL), expected)


@pytest.mark.parametrize("name", ["Marengo-retrieval-2.7", "marengo-retrieval-2.7", "marengo2.7"])
def test_aliases(name: str) -> None:
    """Every spelling of a model's name means the model."""
    assert reader().read(request(text(), model=name)).model is MARENGO_27


@pytest.mark.parametrize("truncate", [pb.TRUNCATE_NONE, pb.TRUNCATE_START, pb.TRUNCATE_END])
def test_truncate_of_a_model_that_can(truncate: pb.Truncate.ValueType) -> None:
    """A model that can cut either end may be asked to."""
    (item,) = reader().read(request(text(truncate=truncate), model="marengo2.7")).inputs
    assert isinstance(item, TextInput)
    assert item.truncate is not None
    assert f"TRUNCATE_{item.truncate.name}" == pb.Truncate.Name(truncate)


def test_unary_request() -> None:
    """The request of the unary call has the same rules and the same meaning."""
    message = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text()], max_retries=1)
    assert reader().read(message) == EmbedRequest(MARENGO_30, (TextInput("", "a fox"),), 1, content_bytes=5)
    assert list(faults(lambda: reader().read(pb.CreateEmbeddingUnaryRequest()))) == ["model_name", "inputs"]


def test_all_faults_together() -> None:
    """One answer tells every fault, each under its own path, in the order of the request."""
    message = request(
        text("", key="k" * 300, truncate=7),
        image(file=file(b"", file_name="\n", media_type="x")),
        audio(math.nan, url="nope"),
        model="nope",
        vector_encoding=5,
    )
    assert list(faults(lambda: reader().read(message))) == [
        "model_name",
        "vector_encoding",
        "inputs[0].key",
        "inputs[0].text.value",
        "inputs[0].text.truncate",
        "inputs[1].image.source.file.data",
        "inputs[1].image.source.file.file_name",
        "inputs[1].image.source.file.media_type",
        "inputs[2].audio.source.url",
        "inputs[2].audio.start_offset_sec",
    ]


def test_faults_are_counted() -> None:
    """The message tells the first fault and how many more there are."""
    with pytest.raises(InvalidRequest, match=r"^inputs\[0\]\.text\.value: must not be empty \(and 2 more\)$"):
        reader().read(request(*[text("")] * 3))


def test_values_are_not_quoted() -> None:
    """A fault does not repeat what the caller sent: it goes into logs of proxies."""
    secret = "caller-secret\n"
    message = request(
        text(secret, key=secret * 30),
        image(url=secret),
        image(file=file(file_name=secret, media_type=secret)),
        model=secret,
    )
    assert "secret" not in str(faults(lambda: reader().read(message)))


def test_at_the_limits() -> None:
    """As many inputs as are allowed are allowed."""
    assert len(reader().read(request(*[text()] * 3)).inputs) == 3


def test_uploads() -> None:
    """Each upload is announced under its index, with what is known of it and the path for its errors."""
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
    known = uploads[0]._announced
    assert (known.field, known.limit, known.size, known.sha256) == (
        "request.inputs[0].audio.source.upload",
        200,
        200,
        b"h" * 32,
    )
    unknown = uploads[2]._announced
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
        pytest.param(image(upload=upload(media_type="x")), "image.source.upload.media_type", "like", id="media type"),
        pytest.param(image(url="x"), "image.source.url", "http", id="URL beside uploads"),
        pytest.param(text(""), "text.value", "empty", id="text beside uploads"),
    ],
)
def test_upload_rules(item: pb.Input, field: str, words: str) -> None:
    """In an upload the rules are the same, and paths begin at the message of that call."""
    found = faults(lambda: reader().read_upload(request(item)))
    assert list(found) == [f"request.inputs[0].{field}"]
    assert words in found[f"request.inputs[0].{field}"]


@pytest.mark.parametrize("message", [request(text(), model=""), request(), request(*[text()] * 4)])
def test_upload_prefix(message: pb.CreateEmbeddingRequest) -> None:
    """Faults of the request as a whole have the prefix as well."""
    assert all(field.startswith("request.") for field in faults(lambda: reader().read_upload(message)))


async def test_open_uploads() -> None:
    """Only so many uploads of one call are open at a time; another call has its own places."""
    message = request(*[image(upload=upload())] * 3)
    asked = reader()
    _, uploads = asked.read_upload(message)
    assert all(isinstance(item, SpooledUpload) for item in uploads.values())
    await uploads[0].open()
    await uploads[1].open()
    assert uploads[2]._places.locked()
    _, others = asked.read_upload(message)
    assert not others[0]._places.locked()
    uploads[0].close()
    await uploads[2].open()
    for item in uploads.values():
        item.close()
