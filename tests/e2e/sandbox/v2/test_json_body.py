"""The reader of JSON bodies, in pieces of any size."""

import base64
import json
import tracemalloc
from typing import Any

import pytest

from embedwire_sandbox import Sandbox
from embedwire_sandbox.bodies.json_body import BodyLimits, JsonBody, JsonScanner
from embedwire_sandbox.errors import RefusalError
from embedwire_sandbox.media.upload import Upload
from tests.e2e.sandbox.official import plain
from tests.e2e.sandbox.v2.clients import audio, encoded, post_json
from tests.support.media import wav

LIMITS = BodyLimits(10_000, 10_000, 100_000)
CONTENT = bytes(range(256)) * 3


def parsed(text: bytes, step: int, limits: BodyLimits = LIMITS) -> Any:
    """Feed a document in pieces; files in the result are replaced by their content."""

    def opened(value: Any) -> Any:
        if isinstance(value, Upload):
            return value.file.read()
        if isinstance(value, dict):
            return {name: opened(item) for name, item in value.items()}
        return [opened(item) for item in value] if isinstance(value, list) else value

    with JsonBody() as body:
        scanner = JsonScanner(body.files, limits)
        for start in range(0, len(text), step):
            scanner.feed(text[start : start + step])
        return opened(scanner.members())


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize(
    "document",
    [
        {"a": 1, "b": ["x", None, True, "\\", '\\"', 'q"uote', "ö😀"], "c": {"base64_string": None}},
        {"text": '"base64_string": "AAAA"', 'x"base64_string': "no base64", "base64_string ": "no base64"},
        {"list": ["base64_string", "x"], "base64": "base64_string"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_plain(document: dict[str, Any], indent: int | None, step: int) -> None:
    """Documents without base64 are read like any JSON."""
    assert parsed(json.dumps(document, indent=indent).encode(), step) == document


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1_000])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 768])
@pytest.mark.parametrize("slash", [b"/", b"\\/"])
def test_base64(size: int, slash: bytes, step: int) -> None:
    """Each base64 string is decoded in its place, with escaped slashes."""
    content = CONTENT[::-1][:size]
    value = base64.b64encode(content).replace(b"/", slash)
    text = b'{"a": [{"base64_string" : "%b"}, {"base64_string":"QUJD"}], "b": 3}' % value
    assert parsed(text, step) == {"a": [{"base64_string": content}, {"base64_string": b"ABC"}], "b": 3}


@pytest.mark.parametrize("step", [1, 1_000])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "x',
        b'{"base64_string": "QUJD',
        b'{"base64_string": "QUJ"}',
        b'{"base64_string": "QU=D"}',
        b'{"base64_string": "QUI=QUJD"}',
        b'{"base64_string": "QUJD\\n"}',
        b'{"base64_string": "QU D"}',
        b'{"base64_string": "_-_-"}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 5_000,
    ],
)
def test_malformed(text: bytes, step: int) -> None:
    """Anything else is a 400."""
    with pytest.raises(RefusalError) as caught:
        parsed(text, step)
    assert caught.value.status == 400


def test_limits() -> None:
    """The text without base64 and each decoded file have a limit."""
    with pytest.raises(RefusalError) as caught:
        parsed(b'{"a": "%b"}' % (b"x" * 200), 50, BodyLimits(100, 100, 1_000))
    assert caught.value.status == 400
    with pytest.raises(RefusalError) as caught:
        parsed(b'{"base64_string": "%b"}' % (b"QUJD" * 50), 50, BodyLimits(100, 100, 1_000))
    assert caught.value.status == 413


async def test_content_type(sandbox: Sandbox) -> None:
    """A body of another type is a 400."""
    async with plain(sandbox) as http:
        reply = await http.post("/embed-v2", content=b"{}", headers={"content-type": "text/plain"})
    assert (reply.status_code, reply.json()["code"]) == (400, "content_type_invalid")


async def test_chunked(sandbox: Sandbox) -> None:
    """A chunked body is accepted."""

    async def pieces() -> Any:
        data = json.dumps(audio({"base64_string": encoded(wav(7))})).encode()
        for start in range(0, len(data), 10_000):
            yield data[start : start + 10_000]

    async with plain(sandbox) as http:
        reply = await http.post("/embed-v2", content=pieces(), headers={"content-type": "application/json"})
    assert reply.json()["metadata"]["duration"] == 7


async def test_largest(sandbox: Sandbox) -> None:
    """Audio of 36 MB as base64 is accepted, one byte more is rejected."""
    content = bytearray(wav(562, rate=32_000))
    content += bytes(36_000_000 - len(content))
    accepted = await post_json(
        sandbox, "/embed-v2", audio({"base64_string": encoded(content)}, embedding_scope=["asset"])
    )
    content += b"\0"
    rejected = await post_json(sandbox, "/embed-v2", audio({"base64_string": encoded(content)}))

    assert accepted.status_code == 200
    assert rejected.status_code == 400
    assert "36 MB" in rejected.json()["message"]


def test_memory() -> None:
    """A body with 36 MB of content needs little memory."""
    piece = base64.b64encode(bytes(48_000))
    with JsonBody() as body:
        scanner = JsonScanner(body.files, BodyLimits(1_000, 40_000_000, 50_000_000))
        scanner.feed(b'{"base64_string": "')
        tracemalloc.start()
        try:
            for _ in range(750):
                scanner.feed(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        scanner.feed(b'"}')
        assert scanner.members()["base64_string"].size == 36_000_000
    assert peak < 4_000_000
