"""Multipart bodies in forms that the SDK does not send and other clients may."""

from collections.abc import AsyncIterator

import pytest

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.sandbox.official import form, post
from tests.support.media import png, wav

BOUNDARY = "a-boundary"
TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *headers])
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


MODEL = part('name="model_name"', b"marengo3.0")
TEXT = part('name="text"', b"hello")


async def in_crumbs(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 7):
        yield content[start : start + 7]


async def test_any_order(sandbox: Sandbox) -> None:
    """A file may precede the model's name, and a boundary may be quoted."""
    content = body(part('name="image_file"; filename="a.png"', png()), TEXT, MODEL)
    reply = await post(sandbox, {"Content-Type": f'multipart/form-data; boundary="{BOUNDARY}"'}, content=content)

    assert (reply.status_code, sandbox.journal[-1].parts) == (200, ["image_file", "text", "model_name"])


async def test_chunked_in_small_pieces(sandbox: Sandbox) -> None:
    """The result does not depend on where the body is split."""
    content = body(MODEL, part('name="audio_file"; filename="a.wav"', wav(2, rate=8000)), TEXT)
    torn = await post(sandbox, TYPE, content=in_crumbs(content))

    assert torn.status_code == 200
    assert torn.json() == (await post(sandbox, TYPE, content=content)).json()


async def test_files_may_contain_boundaries(sandbox: Sandbox) -> None:
    """A file may contain text like a boundary, and unknown headers of a part are ignored."""
    lookalike = f"\r\n--{BOUNDARY[:-1]}\r\n--".encode()
    image = part('name="image_file"; filename="/a"', png() + lookalike, "Content-Length: 3", "Content-Type: image/gif")
    reply = await post(sandbox, TYPE, content=body(MODEL, image))

    assert reply.json()["image_embedding"]["metadata"] == {"input_filename": "/a"}


BROKEN = {
    "json": ({"Content-Type": "application/json"}, b"{}"),
    "no type": ({}, b"x"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, body(MODEL, TEXT)),
    "long boundary": ({"Content-Type": f"multipart/form-data; boundary={'b' * 71}"}, body(MODEL, TEXT)),
    "other boundary": ({"Content-Type": "multipart/form-data; boundary=other"}, body(MODEL, TEXT)),
    "empty": (TYPE, b""),
    "no end": (TYPE, MODEL + TEXT),
    "cut in a part": (TYPE, MODEL + TEXT[:-4]),
    "cut in a head": (TYPE, MODEL + TEXT[:20]),
    "no name": (TYPE, body(MODEL, part('filename="x"', b"y"))),
    "long head": (TYPE, body(MODEL, part(f'name="text"; x="{"x" * 9000}"', b"y"))),
    "boundary goes on": (TYPE, body(MODEL, b"--" + BOUNDARY.encode() + b"x" + TEXT[12:])),
    "too many parts": (TYPE, body(MODEL, *[TEXT] * 64)),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken(sandbox: Sandbox, case: str) -> None:
    """An incomplete form is a 400 with `content_type_invalid`."""
    headers, content = BROKEN[case]
    reply = await post(sandbox, headers, content=content)

    assert (reply.status_code, reply.json()["code"]) == (400, "content_type_invalid")


async def test_no_utf8(sandbox: Sandbox) -> None:
    """Text that is not UTF-8 is refused, and the message names its field."""
    reply = await post(sandbox, **form(text=b"\xff\xfe"))

    assert (reply.status_code, reply.json()["message"]) == (400, "The text parameter is invalid. It is not UTF-8.")


async def test_size_caps() -> None:
    """A field, a file and a body each have a maximum size; the first two are named, the last is a 413."""
    options = SandboxOptions(max_field_bytes=100, max_file_bytes=1000, max_body_bytes=3000)
    async with Sandbox(options) as sandbox:
        field = await post(sandbox, **form(text="x" * 101))
        file = await post(sandbox, TYPE, content=body(MODEL, part('name="audio_file"', bytes(1001))))
        declared = await post(sandbox, **form(other="x" * 3000))
        chunked = await post(sandbox, TYPE, content=in_crumbs(body(MODEL, part('name="other"', bytes(3000)))))

    assert (field.status_code, field.json()["message"].split()[1]) == (400, "text")
    assert (file.status_code, file.json()["message"].split()[1]) == (400, "audio_file")
    assert [declared.status_code, chunked.status_code] == [413, 413]


async def test_large_file_is_spooled(sandbox: Sandbox) -> None:
    """A file of several megabytes is read completely from its spool."""
    image = png() + bytes(6_000_000)
    reply = await post(sandbox, TYPE, content=body(MODEL, part('name="image_file"', image)))

    small = await post(sandbox, TYPE, content=body(MODEL, part('name="image_file"', png())))
    assert reply.json() == small.json()
