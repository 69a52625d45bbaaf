"""Groups of `map`: which inputs share a call, and inputs that cannot be sent."""

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwire import Audio, Image, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import Connect, mapped
from tests.e2e.client.services import Recorder
from tests.e2e.client.uploads import LARGE, MIB, SMALL, source, written
from tests.support.serving import Served


def sizes(recorder: Recorder) -> list[int]:
    return [len(request.inputs) for request in recorder.requests]


async def test_calls_have_the_limits_of_the_run(connect: Connect) -> None:
    """A call has at most inputs_per_call inputs, 16 by default, and all inputs are sent once."""
    for options, most in (({}, 16), ({"inputs_per_call": 25}, 25)):
        recorder = Recorder()
        async with recorder.serving() as target, connect(target) as client:
            await mapped(client.map("m", [Text("a")] * 100, **options))
        assert max(sizes(recorder)) <= most
        assert sum(sizes(recorder)) == 100
        assert len(recorder.requests) < 100


async def test_an_upload_is_alone(connect: Connect) -> None:
    """Files that are uploaded have calls of their own, and the others are in the requests."""
    asked = [Text("a"), Audio(data=LARGE), Text("b"), Image(chunks=[SMALL]), Text("c"), Image(data=SMALL)]
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        found = await mapped(client.map("m", asked))

    assert len(found) == 6
    inline = [item for request in recorder.requests for item in request.inputs if not is_upload(item)]
    assert [item.text.value for item in inline[:3]] == ["a", "b", "c"]
    assert inline[3].image.source.file.data == SMALL
    uploads = [request for request in recorder.requests if any(map(is_upload, request.inputs))]
    assert [len(request.inputs) for request in uploads] == [1, 1]


def is_upload(item: pb.Input) -> bool:
    return "upload" in (item.audio.source.WhichOneof("source"), item.image.source.WhichOneof("source"))


async def test_a_group_does_not_wait_for_a_slow_iterator(connect: Connect) -> None:
    """A group that is not full is sent although the iterator gives no further input."""
    recorder = Recorder()
    is_sent = threading.Event()

    def slow() -> Iterator[Text]:
        yield Text("a")
        yield Text("b")
        assert is_sent.wait(60)
        yield Text("c")

    async with recorder.serving() as target, connect(target) as client:
        embeddings = client.map("m", slow())
        await anext(embeddings)
        await anext(embeddings)
        is_sent.set()
        await mapped(embeddings)
    assert [item.text.value for item in recorder.requests[-1].inputs] == ["c"]


class Broken(io.BytesIO):
    """A seekable file that cannot be read."""

    def __init__(self, content: bytes, error: OSError | None = None) -> None:
        super().__init__(content)
        self.error = error

    def read(self, _: int | None = -1, /) -> bytes:
        if self.error is not None:
            raise self.error
        raise OSError(5, "cannot read the secret", "/secret/name")


def failing() -> Iterator[bytes]:
    yield bytes(MIB)
    raise LookupError("/secret/name")


class Growing(io.BytesIO):
    """A file that gives more bytes than it had when it was measured."""

    def read(self, _: int | None = -1, /) -> bytes:
        return b"more"


NOT_UTF8 = "cannot be encoded as UTF-8"
UNREADABLE: dict[str, tuple[Any, str, str]] = {
    "missing": (lambda path: Image(path=path / "secret"), "image.source", "cannot be read: No such file or directory"),
    "directory": (lambda path: Audio(path=path), "audio.source", "cannot be read: Is a directory"),
    "inline": (lambda _: Image(file=Broken(b"content")), "image.source", "cannot be read: Input/output error"),
    "upload": (lambda _: Audio(file=Broken(LARGE)), "audio.source", "cannot be read: Input/output error"),
    "middle": (lambda _: Audio(file=source(LARGE, 1000)), "audio.source", "cannot be read: Input/output error"),
    "chunks": (lambda _: Audio(chunks=failing()), "audio.source", "cannot be read: LookupError"),
    "not bytes": (lambda _: Audio(chunks=["secret"]), "audio.source", "cannot be read: TypeError"),  # type: ignore[list-item]
    "no errno": (
        lambda _: Audio(file=Broken(b"content", OSError("secret"))),
        "audio.source",
        "cannot be read: OSError",
    ),
    "own errno": (lambda _: Audio(file=Broken(LARGE, OSError(9999, "s"))), "audio.source", "cannot be read: OSError"),
    "grown": (
        lambda _: Image(file=Growing(b"a")),
        "image.source",
        "cannot be read: the file has grown while it was read",
    ),
    "key": (lambda _: Text("a", key="\ud800"), "key", NOT_UTF8),
    "url": (lambda _: Image(url="http://\ud800"), "image.source.url", NOT_UTF8),
    "file name": (lambda _: Image(data=SMALL, file_name="\ud800"), "image.source.file.file_name", NOT_UTF8),
    "media type": (lambda _: Audio(data=LARGE, media_type="\ud800"), "audio.source.upload.media_type", NOT_UTF8),
    "not UTF-8": (lambda _: Text("secret \ud800"), "text.value", NOT_UTF8),
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_an_input_that_cannot_be_read_fails_alone(
    connect: Connect, served: Served, tmp_path: Path, kind: str
) -> None:
    """A file that cannot be read, or a text that is not UTF-8, ends its own input only, without path or content."""
    make, part, words = UNREADABLE[kind]
    async with connect(served.app.target) as client:
        run = client.map("marengo3.0", [Text("a"), make(tmp_path), Text("b")], chunk_bytes=1000)
        found = await asyncio.wait_for(mapped(run), 20)

    assert [found[position].failure is None for position in range(3)] == [True, False, True]
    failure = found[1].failure
    assert failure is not None
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert [(each.field, each.description) for each in failure.violations] == [(f"inputs[1].{part}", words)]
    assert failure.message == f"inputs[1].{part}: {words}"
    assert "secret" not in str(failure)


async def test_a_call_without_readable_inputs_is_not_made(connect: Connect, tmp_path: Path) -> None:
    """If no input of a group can be read, there is no call, and the run continues."""
    recorder = Recorder()
    asked = [Image(file=Broken(b"a")), Image(file=Broken(b"b")), Image(path=written(tmp_path / "c.png", SMALL))]
    async with recorder.serving() as target, connect(target) as client:
        found = await mapped(client.map("m", asked, inputs_per_call=2))

    assert [found[position].failure is None for position in range(3)] == [False, False, True]
    assert sizes(recorder) == [1]
