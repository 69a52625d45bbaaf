"""Complete answers of embed_unary: the same as those of embed, and the limits of a message."""

import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from embedwire import Audio, Embedding, GatewayError, Image, RequestError, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import BROKEN, Connect
from tests.e2e.client.services import Context, Recorder, service
from tests.support import media
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


async def _without_embeddings(_: Any, __: Context) -> pb.CreateEmbeddingUnaryResponse:
    return pb.CreateEmbeddingUnaryResponse()


@pytest.mark.parametrize("asked", [Text("a"), [Text("a")]], ids=["alone", "list"])
async def test_a_unary_answer_that_lacks_an_input_is_a_server_failure(connect: Connect, asked: Any) -> None:
    """A unary answer that lacks an input is a GatewayError."""
    async with service(CreateEmbeddingUnary=_without_embeddings) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed_unary("m", asked, timeout=10)


async def test_unary_gives_the_same(connect: Connect, served: Served, tmp_path: Path) -> None:
    """embed_unary gives the same vectors, offsets, names and failures as embed, for inputs of every kind."""
    picture, sound = tmp_path / "picture.png", tmp_path / "sound.wav"
    picture.write_bytes(media.png())
    sound.write_bytes(media.wav(13))

    def asked() -> list[Any]:
        return [
            Text("a red fox", key="t", truncate="end"),
            Image(path=picture, key="p"),
            Audio(path=str(sound), start_offset_sec=1.0),
            Image(file=io.BytesIO(media.png(300, 300))),
            BROKEN,
        ]

    async with connect(served.app.target) as client:
        streamed = await client.embed("marengo3.0", asked(), timeout=20)
        unary = await client.embed_unary("marengo3.0", asked(), timeout=20)
        alone = await client.embed_unary("marengo3.0", Text("a red fox", key="t"), timeout=20)

    def facts(embedding: Embedding) -> list[Any]:
        parts = [
            (part.vector.tolist(), part.start_offset_sec, part.end_offset_sec, part.modality, part.input_key)
            for part in embedding.segments
        ]
        done = embedding.result
        failure = done.failure and (done.failure.code, done.failure.reason, done.failure.message)
        return [parts, done.input_filename, failure, done.model_name, done.media_duration_sec, done.segment_count]

    assert [facts(embedding) for embedding in unary] == [facts(embedding) for embedding in streamed]
    assert [embedding.result.input_filename for embedding in unary[1:3]] == ["picture.png", "sound.wav"]
    assert facts(alone) == facts(unary[0])


async def test_unary_refuses_large_files_before_sending(connect: Connect, tmp_path: Path) -> None:
    """Files over 15 MiB together, or of unknown size, are a ValueError that names the input; nothing is sent."""
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate((15 << 20) + 1)

    async def asynchronous() -> AsyncGenerator[bytes]:
        yield b"a"

    cases: list[tuple[int, list[Any]]] = [
        (0, [Audio(path=large)]),
        (1, [Audio(data=bytes(8 << 20)), Audio(data=bytes((7 << 20) + 1))]),
        (1, [Text("a"), Audio(chunks=[b"a"])]),
        (0, [Audio(chunks=asynchronous())]),
    ]
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for index, asked in cases:
            with pytest.raises(ValueError, match=rf"inputs\[{index}\]"):
                await client.embed_unary("m", asked, timeout=10)
    assert recorder.requests == []


async def test_unary_accepts_files_at_the_limit(connect: Connect, served: Served) -> None:
    """Files of 15 MiB fit into a unary message: the server reads and rejects them."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed_unary("marengo3.0", Audio(data=bytes(15 << 20)), timeout=30)
    assert caught.value.reason == "INPUT_REJECTED"


async def test_a_unary_answer_that_is_too_large(connect: Connect, scripted: Scripted) -> None:
    """An answer over 4 MiB is a RequestError with reason REPLY_TOO_LARGE."""
    body = json.dumps(reply("audio_embedding", segments=2100)).encode()

    async def script(visit: Visit) -> None:
        await visit.answer(body)

    async with scripted(script) as (served, _), connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed_unary("marengo3.0", Audio(url="http://media.test/a.mp3"), timeout=30)

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "REPLY_TOO_LARGE")
