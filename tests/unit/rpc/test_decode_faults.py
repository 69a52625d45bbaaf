"""Violations of the contract, each under the path of its field."""

import math
from collections.abc import Callable

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import InvalidRequest
from tests.unit.rpc.decode_support import URL, audio, faults, file, image, reader, request, text, upload


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
    """A violation is reported under the path of its field, with the limit and a remedy, and nothing else is."""
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


def test_all_faults_together() -> None:
    """All violations are reported together, each under its path, in the order of the request."""
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
    """The message has the first violation and the number of further ones."""
    with pytest.raises(InvalidRequest, match=r"^inputs\[0\]\.text\.value: must not be empty \(and 2 more\)$"):
        reader().read(request(*[text("")] * 3))


def test_values_are_not_quoted() -> None:
    """A violation does not quote the caller's value, which could end up in logs of proxies."""
    secret = "caller-secret\n"
    message = request(
        text(secret, key=secret * 30),
        image(url=secret),
        image(file=file(file_name=secret, media_type=secret)),
        model=secret,
    )
    assert "secret" not in str(faults(lambda: reader().read(message)))
