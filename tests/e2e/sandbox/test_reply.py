"""Serialisation of replies."""

import asyncio
import json
from collections.abc import AsyncGenerator

import numpy as np

from embedwire_sandbox import Sandbox
from embedwire_sandbox.media.vectors import Vector
from embedwire_sandbox.v1.reply import pieces
from embedwire_sandbox.v1.result import Document, Result, Segment
from tests.e2e.sandbox.official import post
from tests.support.media import sound

VECTOR: Vector = np.array([0.1, -1 / 3, 1e-9], dtype=np.float32)


async def test_a_segment_is_written_before_the_next_is_computed() -> None:
    """The first segment is sent while the second is still being computed."""
    first_seen = asyncio.Event()

    async def segments() -> AsyncGenerator[Segment, None]:
        yield Segment(VECTOR, 0.0)
        await asyncio.wait_for(first_seen.wait(), 20)
        yield Segment(VECTOR, 7.5)

    written = b""
    async for piece in pieces(Document("m", (Result("audio", segments(), {}),))):
        written += piece
        if b"start_offset_sec" in written:
            first_seen.set()

    assert [segment["start_offset_sec"] for segment in json.loads(written)["audio_embedding"]["segments"]] == [0, 7.5]


async def test_numbers_are_preserved() -> None:
    """Every float32 is read back unchanged, and whole seconds are written as integers."""

    async def segments() -> AsyncGenerator[Segment, None]:
        yield Segment(VECTOR, 6.0, 12.25)

    written = b"".join([piece async for piece in pieces(Document("m", (Result("audio", segments()),)))])

    segment = json.loads(written)["audio_embedding"]["segments"][0]
    assert VECTOR.tolist() == np.array(segment["float"], dtype=np.float32).tolist()
    assert b'"start_offset_sec":6,"end_offset_sec":12.25' in written


async def test_break_after_the_status(sandbox: Sandbox) -> None:
    """Audio that breaks off in the middle is HTTP 200, chunked, with segments and then an error message."""
    content = sound((0.2 * np.random.RandomState(5).randn(480_000)).astype(np.float32))
    reply = await post(
        sandbox, data={"model_name": "marengo3.0"}, files={"audio_file": ("a", content[: len(content) // 2])}
    )

    embedding = reply.json()["audio_embedding"]
    assert (reply.status_code, reply.headers["Transfer-Encoding"]) == (200, "chunked")
    assert len(embedding["segments"]) == 4
    assert "not valid" in embedding["error_message"]
