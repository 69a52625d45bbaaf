"""Files of identical images: read from a caller that is still waiting."""

import asyncio
from pathlib import Path

import pytest

from embedwire_server.core.inputs import Content, FileSource, ImageInput
from embedwire_server.media.in_memory import READ_BYTES
from embedwire_server.media.spool import SpooledUpload
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.policies.shared_content import SharedContent
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import ANSWER, KEYS, Embedded, call, embedded
from tests.unit.media.spool_support import read, received, upload

FILE = bytes(range(256)) * (12 << 10)  # 3 MiB: more than an upload keeps in memory


async def uploaded(directory: Path) -> SpooledUpload:
    file = upload(directory)
    await received(file, FILE)
    return file


async def as_gateway(upstream: CoalescingPolicy, wanted: EmbedCall, file: Content) -> Embedded:
    """Embed an input, and close its file in the end, as the gateway does."""
    try:
        return await embedded(upstream, wanted)
    finally:
        file.close()


async def test_the_starter_leaves(tmp_path: Path) -> None:
    """The request continues with the file of another caller, when that of its starter has been closed."""
    got: list[bytes] = []
    begun, left = asyncio.Event(), asyncio.Event()

    async def script(attempt: Attempt) -> None:
        source = attempt.call.input.source  # type: ignore[union-attr]
        async for chunk in source.content.chunks():  # type: ignore[union-attr]
            got.append(chunk)
            begun.set()
            await left.wait()
        attempt.succeed()

    scripted = ScriptedUpstream(script)
    upstream = CoalescingPolicy(scripted, KEYS)
    files = [await uploaded(tmp_path) for _ in range(2)]
    calls = [call(item=ImageInput("", FileSource(file, "a.png", "image/png"))) for file in files]
    tasks = [asyncio.create_task(as_gateway(upstream, *pair)) for pair in zip(calls, files, strict=True)]
    async with asyncio.timeout(20):
        await begun.wait()
        while None in {one.cache_status for one in calls}:
            await asyncio.sleep(0.001)
        starter = [str(one.cache_status) for one in calls].index("miss")
        tasks[starter].cancel()
        await asyncio.wait([tasks[starter]])
        with pytest.raises(ValueError, match="closed"):
            files[starter].read_at(0, 1)
        left.set()

        assert await tasks[1 - starter] == ANSWER
    assert b"".join(got) == FILE
    assert len(scripted.attempts) == 1


async def test_reading(tmp_path: Path) -> None:
    """It reads the whole file, in pieces, again for each attempt."""
    content, file = SharedContent(), await uploaded(tmp_path)
    content.add(1, file)

    assert await content.ready() == len(FILE)
    assert await read(content) == await read(content) == FILE
    assert content.read_at(len(FILE) - 1, READ_BYTES) == FILE[-1:]
    file.close()


async def test_a_file_that_is_closed_during_the_read(tmp_path: Path) -> None:
    """A file that was closed before it was removed is not read again; without another one, reading fails."""
    content, files = SharedContent(), [await uploaded(tmp_path) for _ in range(2)]
    content.add(1, files[0])
    files[0].close()
    with pytest.raises(ValueError, match="left"):
        content.read_at(0, 1)

    content.remove(1)
    content.add(2, files[1])
    assert content.read_at(1, 1) == b"\1"
    content.remove(2)
    with pytest.raises(ValueError, match="left"):
        content.read_at(0, 1)
    files[1].close()
