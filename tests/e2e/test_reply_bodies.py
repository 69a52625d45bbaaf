"""Unusual JSON in successful replies: the official SDK and the server, each over a socket, read the same."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import grpc
import httpx
import numpy as np
import pytest
from twelvelabs import AsyncTwelveLabs

from tests.support.messages import failed, request, results, segments, text_input
from tests.support.serving import Scripted
from tests.support.upstreams import Visit

VECTOR = [round(0.001 * at, 3) for at in range(512)]
NUMBERS = json.dumps(VECTOR)
FLOATS = np.array(VECTOR, np.float32).tolist()


def reply(segment: str = '{"float":%s}', more: str = "", embedding: str = "") -> str:
    """A reply with placeholders for these fields; %s is the vector."""
    return f'{{"model_name":"m",{more}"text_embedding":{{{embedding}"segments":[{segment}]}}}}'


def first(number: str) -> str:
    return reply(segment='{"float":[' + number + "," + NUMBERS.partition(",")[2] + "}")


# What the SDK reads, and the first number of the vector.
READ: dict[str, tuple[str | bytes, float]] = {
    "plain": (reply(), 0),
    "half of an emoji beside": (reply(more=r'"x":"a \ud83e",'), 0),
    "half of an emoji in the segment": (reply(r'{"x":"\udd8a","float":%s}'), 0),
    "half of an emoji in the embedding": (reply(embedding=r'"x":"\ud83e",'), 0),
    "80 bits beside": (reply(more='"x":1208925819614629174706176,'), 0),
    "80 bits in the segment": (reply('{"float":%s,"id":-1208925819614629174706176}'), 0),
    "1e400 in the segment": (reply('{"float":%s,"score":[1e400]}'), 0),
    "NaN in the segment": (reply('{"float":%s,"score":NaN}'), 0),
    "Infinity beside": (reply(more='"x":-Infinity,'), 0),
    "depth in the segment": (reply('{"x":' + "[" * 200 + "]" * 200 + ',"float":%s}'), 0),
    "100 KB in the segment": (reply('{"x":"' + r"\"]" * 40_000 + '","float":%s}'), 0),
    "100 KB beside": (reply(more='"x":"' + "a" * 100_000 + '",'), 0),
    "escaped embedding": (reply().replace("text_", r"te\u0078t_"), 0),
    "escaped segments": (reply().replace("segments", r"\u0073egments"), 0),
    "escaped float": (reply(r'{"fl\u006fat":%s}'), 0),
    "float twice": (reply('{"float":[7],"float":%s}'), 0),
    "float twice, escaped": (reply(r'{"float":[7],"\u0066loat":%s}'), 0),
    "model_name twice": ('{"model_name":"n",' + reply()[1:], 0),
    "empty segments first": (reply(embedding='"segments":[],'), 0),
    "embedding null first": (reply(more='"text_embedding":null,'), 0),
    "byte order mark": ("\ufeff" + reply(), 0),
    "spaces": ("\r\n\t " + reply() + " \n", 0),
    "NUL, escaped": (reply(r'{"x":"\u0000","float":%s}'), 0),
    "other modalities, null": (reply(more='"image_embedding":null,"audio_embedding":null,'), 0),
    "other modalities, empty": (reply(more='"image_embedding":{},"audio_embedding":{"segments":[]},'), 0),
    "another embedding": (reply(more='"image_embedding":{"segments":[{"float":[1,2]}]},'), 0),
    "error_message null": (reply(embedding='"error_message":null,'), 0),
    "error_message empty": (reply(embedding='"error_message":"",'), 0),
    "integer": (first("3"), 3),
    "exponent": (first("1E+2"), 100),
    "minus zero": (first("-0"), 0),
    "400 digits": (first("0." + "3" * 400), 1 / 3),
    "integer of 80 bits": (first("1208925819614629174706176"), 2.0**80),
}
# What the SDK reads and the server refuses: values that are not numbers, or a key that replaces streamed segments.
UNSAFE: dict[str, str | bytes] = {
    "NaN in the vector": first("NaN"),
    "Infinity in the vector": first("Infinity"),
    "1e400 in the vector": first("1e400"),
    "string in the vector": first('"0.5"'),
    "true in the vector": first("true"),
    "no vector": reply('{"x":1}'),
    "vector null": reply('{"float":null}'),
    "segments twice": reply(embedding='"segments":[{"float":%s}],'),
    "embedding twice": reply(more='"text_embedding":{"segments":[{"float":%s}]},'),
    "UTF-16": reply().replace("%s", NUMBERS).encode("utf-16"),
}
# What the SDK refuses.
REFUSED: dict[str, str | bytes] = {
    "null in the vector": first("null"),
    "list in the vector": first("[0.5]"),
    "trailing comma": reply('{"float":%s,}'),
    "two documents": reply() + reply(),
    "unknown escape": reply(more=r'"x":"\q",'),
    "list": "[]",
    "empty": "",
}


def filled(body: str | bytes) -> bytes:
    return body.replace("%s", NUMBERS).encode() if isinstance(body, str) else body


def sends(body: bytes, piece: int | None = None, *, has_length: bool = True) -> Callable[[Visit], Awaitable[None]]:
    """Answer with this body, in pieces of that many bytes if given, with a Content-Length or without."""

    async def script(visit: Visit) -> None:
        await visit.head(200, len(body) if has_length else None)
        for at in range(0, len(body), piece or len(body) or 1):
            await visit.send(body[at : at + (piece or len(body))])
            await asyncio.sleep(0)
        if not has_length:
            visit.writer.close()

    return script


def ways(body: bytes) -> list[Callable[[Visit], Awaitable[None]]]:
    """Whole and in pieces, read in one step and as they arrive."""
    return [sends(body), sends(body, 997), sends(body, has_length=False), sends(body, 997, has_length=False)]


async def sdk(base_url: str) -> list[float]:
    """The vector that the official SDK reads."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        client = AsyncTwelveLabs(api_key="k", base_url=base_url, httpx_client=http)
        got = await client.embed.create(model_name="marengo3.0", text="a red fox")
    assert got.text_embedding is not None
    assert got.text_embedding.segments is not None
    return list(got.text_embedding.segments[0].float_ or [])


@pytest.mark.parametrize(("body", "number"), READ.values(), ids=READ)
async def test_replies_that_both_read(scripted: Scripted, body: str | bytes, number: float) -> None:
    """The SDK and the server read the same vector, in any packets, with a Content-Length and without."""
    expected = [float(np.float32(number)), *FLOATS[1:]]
    data = filled(body)
    async with scripted(sends(data), retry_max_attempts=1) as (served, upstream):
        assert np.array(await sdk(upstream.base_url), np.float32).tolist() == expected
        for way in ways(data):
            upstream.script = way
            events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
            assert list(segments(events)[0].vector.float_values.values) == expected
            assert results(events)[0].model_name == "m"


@pytest.mark.parametrize("status", [201, 202, 203])
async def test_every_successful_status_with_a_body_is_read(scripted: Scripted, status: int) -> None:
    """The SDK and the server read a valid reply under each of these status codes."""

    async def script(visit: Visit) -> None:
        await visit.answer(filled(reply()), status)

    async with scripted(script, retry_max_attempts=1) as (served, upstream):
        assert np.array(await sdk(upstream.base_url), np.float32).tolist() == FLOATS
        events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
    assert list(segments(events)[0].vector.float_values.values) == FLOATS


async def test_partial_content_is_refused(scripted: Scripted) -> None:
    """HTTP status 206 without a range request is refused and named: the missing part is unknown."""

    async def script(visit: Visit) -> None:
        await visit.answer(filled(reply()), 206)

    async with scripted(script, retry_max_attempts=1) as (served, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
    failure = failed(caught.value)
    assert failure.info.reason == "UPSTREAM_MALFORMED_REPLY"
    assert failure.message == "the upstream answered with HTTP status 206 instead of 200"


@pytest.mark.parametrize("body", UNSAFE.values(), ids=UNSAFE)
async def test_replies_that_only_the_sdk_reads(scripted: Scripted, body: str | bytes) -> None:
    """The server, which guarantees finite numbers, refuses replies that the SDK accepts, in any packets and framing."""
    data = filled(body)
    async with scripted(sends(data), retry_max_attempts=1) as (served, upstream):
        await sdk(upstream.base_url)
        assert await _refusals(served.stub, upstream, data) == ["UPSTREAM_MALFORMED_REPLY"]


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
async def test_replies_that_both_refuse(scripted: Scripted, body: str | bytes) -> None:
    """Replies that the SDK refuses fail in the server too, with one message for all packets and framings."""
    data = filled(body)
    async with scripted(sends(data), retry_max_attempts=1) as (served, upstream):
        with pytest.raises(Exception):  # noqa: B017, PT011 - of several libraries
            await sdk(upstream.base_url)
        assert await _refusals(served.stub, upstream, data) == ["UPSTREAM_MALFORMED_REPLY"]


async def _refusals(stub: object, upstream: object, data: bytes) -> list[str]:
    """The distinct failures of the same bytes in different packets and framings."""
    found: dict[tuple[str, str], str] = {}
    for way in ways(data):
        upstream.script = way  # type: ignore[attr-defined] # a ScriptedHttpServer
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.CreateEmbedding(request(text_input()), timeout=20):  # type: ignore[attr-defined]
                pass
        failure = failed(caught.value)
        found[failure.info.reason, failure.message] = failure.info.reason
    return list(found.values())
