"""Multipart bodies, read by independent parsers."""

import email
import email.message
import email.policy
import re

import httpx
import pytest
from aiohttp.multipart import parse_content_disposition
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.http.multipart import Field, File, MultipartBody, Part

NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
# Quotes, backslashes and line ends are escaped; other characters stay unchanged.
# aiohttp reads slashes and backslashes as the ends of folders, of which it takes the last part.
FILE_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\/"), min_size=1, max_size=20)
FIELDS = st.builds(Field, NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


def file(name: str, file_name: str, data: bytes, media_type: str = "image/png") -> File:
    return File(name, file_name, media_type, len(data), InMemoryContent(data))


FILES = st.builds(file, NAMES, FILE_NAMES, st.binary(max_size=60))


async def written(body: MultipartBody) -> bytes:
    return b"".join([chunk async for chunk in body])


def parsed(body: MultipartBody, data: bytes) -> list[tuple[str, bytes]]:
    """Return the headers and the content of each part, split at the boundary."""
    boundary = re.fullmatch("multipart/form-data; boundary=([0-9a-f]{32})", body.content_type)
    assert boundary is not None
    pieces = (b"\r\n" + data).split(b"\r\n--" + boundary[1].encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    heads_and_contents = [piece.removeprefix(b"\r\n").partition(b"\r\n\r\n") for piece in pieces[1:-1]]
    return [(head.decode(), content) for head, _, content in heads_and_contents]


def disposition(head: str) -> dict[str, str]:
    """Return the parameters of a part's Content-Disposition according to aiohttp."""
    header = head.partition("\r\n")[0].removeprefix("Content-Disposition: ")
    form_data, parameters = parse_content_disposition(header)
    assert form_data == "form-data"
    return dict(parameters)


@given(st.lists(FIELDS | FILES, max_size=6))
async def test_any_form(parts: list[Part]) -> None:
    """A parser returns the fields and files of any form unchanged, and the length is that of the body."""
    body = MultipartBody(parts)
    data = await written(body)
    assert body.length == len(data)
    assert await written(body) == data  # an attempt can be repeated
    found = parsed(body, data)
    assert len(found) == len(parts)
    for part, (head, content) in zip(parts, found, strict=True):
        if isinstance(part, Field):
            assert disposition(head) == {"name": part.name}
            assert content.decode() == part.value
        else:
            assert disposition(head) == {"name": part.name, "filename": part.file_name.replace('"', "%22")}
            assert head.split("\r\n")[1:] == ["Content-Type: image/png"]
            assert content == b"".join([chunk async for chunk in part.content.chunks()])


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        pytest.param("plain.png", "plain.png", id="plain"),
        pytest.param('a"b.png', "a%22b.png", id="quote"),
        pytest.param("a\r\nX-Injected: 1\r\n\r\nb", "a%0D%0AX-Injected: 1%0D%0A%0D%0Ab", id="line ends"),
        pytest.param("ä€🦊.png", "ä€🦊.png", id="not ASCII"),
        pytest.param("a; filename=b", "a; filename=b", id="parameters"),
        pytest.param("a%22b", "a%22b", id="percent signs stay"),
    ],
)
async def test_file_names(file_name: str, expected: str) -> None:
    """A file name can neither end its header nor add to it, according to the parser of the standard library."""
    body = MultipartBody([Field("model_name", "m"), file("image_file", file_name, b"\x89PNG\r\n")])
    header = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(header + await written(body), policy=email.policy.HTTP)
    plain, upload = message.iter_parts()
    assert plain.keys() == ["Content-Disposition"]
    assert upload.keys() == ["Content-Disposition", "Content-Type"]
    assert upload.get_filename() == expected
    assert upload.get_param("name", header="Content-Disposition") == "image_file"


def test_inline() -> None:
    """A form without a file is available as a whole, one with a file is not."""
    body = MultipartBody([Field("model_name", "m"), Field("text", "a fox")])
    assert body.inline is not None
    assert len(body.inline) == body.length
    assert [content for _, content in parsed(body, body.inline)] == [b"m", b"a fox"]
    assert MultipartBody([Field("model_name", "m"), file("image_file", "f", b"x")]).inline is None


async def test_inline_equals_chunks() -> None:
    """The whole body equals its chunks."""
    body = MultipartBody([Field("model_name", "m"), Field("text", "ä\r\n--x")])
    assert body.inline == await written(body)


async def test_streamed() -> None:
    """The bytes of a file are passed on without a copy."""
    data = b"x" * 100_000
    body = MultipartBody([file("audio_file", "a.wav", data, "audio/wav")])
    assert any(chunk is data for chunk in [chunk async for chunk in body])


def test_boundaries_differ() -> None:
    """Boundaries are unique, so that content cannot contain one on purpose."""
    assert len({MultipartBody([]).content_type for _ in range(100)}) == 100


def test_private() -> None:
    """Values and file names are in no repr."""
    secret = "caller's words"
    assert secret not in repr([Field("text", secret), file("f", secret, secret.encode())])


@pytest.mark.parametrize("name", ["plain.png", 'a"b', "a\\", "C:\\dir\\x.png", "ä€🦊.png", "a\r\nb"])
async def test_file_names_are_written_as_the_sdk_writes_them(name: str) -> None:
    """The header of a file equals that of httpx, which the official SDK uses."""
    body = MultipartBody([File("image_file", name, "image/png", 1, InMemoryContent(b"x"))])
    boundary = body.content_type.partition("boundary=")[2]
    files = {"image_file": (name, b"x", "image/png")}
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    sdk = httpx.Request("POST", "http://media.test", files=files, headers=headers)

    assert await written(body) == sdk.read()
