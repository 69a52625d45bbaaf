"""Interim responses, headers and framing of the upstream: each has a limit, and none delays other calls."""

import asyncio
import itertools
import threading
from collections.abc import Iterator

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, file_input, request, text_input
from tests.support.raw_upstream import SECONDS, RawUpstream, Request, Step, chunked, embed, http, vector
from tests.support.serving import Served, serving

MALFORMED = "UPSTREAM_MALFORMED_REPLY"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = {
    "continue": CONTINUE + http(vector(1)),
    "each": CONTINUE + PROCESSING + HINTS + http(vector(1)),
    "heartbeat": PROCESSING * 200 + http(vector(1)),
    "before-chunks": HINTS * 3 + chunked(vector(1)),
    "bare-line-feeds": CONTINUE.replace(b"\r", b"") * 3 + http(vector(1)),
    "own-status": b"HTTP/1.1 199 Whatever\r\n\r\n" + http(vector(1)),
}
BAD = {
    "many": (CONTINUE * 300, "more than 256 interim responses"),
    "many-before-a-response": (PROCESSING * 257 + http(vector(1)), "more than 256 interim responses"),
    "large": ((b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 7000 + b"\r\n\r\n") * 40, "longer than 256 KiB"),
    "large-head": (
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 8000) for i in range(40)),
        "longer than 256 KiB",
    ),
    "line-ends": (b"\r\n" * 1000, "more than 256"),
    "tiny-chunks": (IN_CHUNKS + b"1\r\n \r\n" * (1 << 20) + b"0\r\n\r\n", "consists mostly of chunk sizes"),
    "chunk-extensions": (chunked(vector(1), extension=";" + "a" * 20_000, size=20), "consists mostly of chunk sizes"),
    "switch": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "status 101"),
    "switch-with-a-response": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + http(vector(1)),
        "status 101",
    ),
}
# Each is sent for as long as the server reads; it must not slow down other calls.
ENDLESS = {
    "continue": (b"", CONTINUE * 2000),
    "early-hints": (b"", HINTS * 1000),
    "line-ends": (b"", b"\r\n" * 10_000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 5000),
    "header-line": (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 50_000),
    "trailers": (chunked(vector(1))[:-2], b"X: y\r\n" * 5000),
    "chunk-extension": (IN_CHUNKS + b"1;", b"a" * 50_000),
    "tiny-chunks": (IN_CHUNKS, b"1\r\n \r\n" * 10_000),
    "tiny-chunks-with-extensions": (IN_CHUNKS, b"1;a=b\r\n \r\n" * 8000),
}


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("size", [None, 1, 7], ids=["one-piece", "bytes", "sevens"])
async def test_interim_responses_are_skipped(answer: bytes, size: int | None) -> None:
    """The final response is used, however many interim ones come before it and however they are split."""
    step = size or len(answer)
    pieces = [answer[start : start + step] for start in range(0, len(answer), step)]
    upstream = RawUpstream(lambda asked: pieces if asked.number == 1 else [http(vector(asked.number))])
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert [await embed(served, number) for number in (1, 1, 2)] == [1, 1, 2]
    assert upstream.connections == 1


@pytest.mark.parametrize(("answer", "words"), BAD.values(), ids=BAD)
async def test_limits_beside_the_body(answer: bytes, words: str) -> None:
    """The call fails at the limit, its message names it, and the next call uses another connection."""
    upstream = RawUpstream(lambda asked: [answer] if asked.number == 1 else [http(vector(asked.number))])
    with upstream.running() as url:
        async with serving(upstream=url) as served:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in served.stub.CreateEmbedding(request(text_input("number 1")), timeout=SECONDS):
                    pass
            assert failed(caught.value).info.reason == MALFORMED
            assert words in failed(caught.value).message
            assert await embed(served, 2) == 2
    assert upstream.numbers == [1, 2]


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_endless_bytes_delay_no_other_call(start: bytes, more: bytes) -> None:
    """During four endless responses other calls are answered; those four end at a limit or the deadline."""

    def script(asked: Request) -> Iterator[Step]:
        if asked.number:
            return iter([http(vector(asked.number))])
        return itertools.chain([start], itertools.repeat(more, 20_000))

    upstream = RawUpstream(script)
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            asked = request(*[text_input("number 0")] * 4)
            endless = asyncio.create_task(_take(served, asked))
            while len(upstream.requests) < 4:
                await asyncio.sleep(0.01)
            for number in range(1, 6):
                assert await embed(served, number) == number
                await served.stub.ListModels(pb.ListModelsRequest(), timeout=SECONDS)
            await endless


async def _take(served: Served, asked: pb.CreateEmbeddingRequest) -> None:
    try:
        async for _ in served.stub.CreateEmbedding(asked, timeout=SECONDS):
            pass
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017 - several endings are right


FRAMINGS = {
    "http-1.0": ([http(vector(1), version="1.0"), None], 1),
    "http-1.0-to-the-end": ([b"HTTP/1.0 200 OK\r\n\r\n" + vector(1), None], 1),
    "to-the-end": ([b"HTTP/1.1 200 OK\r\n\r\n" + vector(1), None], 1),
    "close": ([http(vector(1), "200 OK", "Connection: close"), None], 1),
    "close-that-is-not-done": ([http(vector(1), "200 OK", "Connection: close")], 1),
    "length-and-chunks": ([chunked(vector(1), "Content-Length: 3")], MALFORMED),
    "two-lengths": ([http(vector(1), "200 OK", "Content-Length: 3")], MALFORMED),
    "same-length-twice": ([http(vector(1), "200 OK", f"Content-Length: {len(vector(1))}")], MALFORMED),
    "negative-length": ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + vector(1)], MALFORMED),
    "vast-length": ([b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n"], MALFORMED),
    "longer-than-its-length": ([http(vector(1)) + b" " * 1000], 1),
    "shorter-than-its-length": ([http(vector(1))[:-1], None], "UPSTREAM_UNAVAILABLE"),
    "one-byte-chunks": ([chunked(vector(1), size=1)], 1),
    "chunk-extensions": ([chunked(vector(1), extension=";a=b")], 1),
    "trailers": ([chunked(vector(1), trailer=b"A: b\r\nC: d\r\n")], 1),
    "long-header": ([http(vector(1), "200 OK", "Content-Security-Policy: " + "a" * 20_000)], 1),
    "many-headers": ([http(vector(1), "200 OK", *(f"X-{i}: {i}" for i in range(500)))], 1),
    "long-reason": ([http(vector(1), "200 " + "a" * 10_000)], 1),
}


@pytest.mark.parametrize(("steps", "expected"), FRAMINGS.values(), ids=FRAMINGS)
async def test_framings(steps: list[Step], expected: int | str) -> None:
    """Every legal framing is read, contradictions are rejected, and the next calls get their own vectors."""
    upstream = RawUpstream(lambda asked: steps if asked.number == 1 else [http(vector(asked.number))])
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert [await embed(served, number) for number in (1, 2, 3)] == [expected, 2, 3]


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (http(vector(1)), MALFORMED, "before the request was sent completely"),
        (chunked(vector(1)), MALFORMED, "before the request was sent completely"),
        (http(b'{"code":"parameter_invalid","message":"no"}', "400 Bad Request"), "INPUT_REJECTED", "no"),
    ],
    ids=["success", "success-in-chunks", "rejection"],
)
async def test_a_response_before_the_request_is_sent(answer: bytes, reason: str, words: str) -> None:
    """A rejection may arrive before the whole file was sent; a success may not."""
    is_over = threading.Event()
    upstream = RawUpstream(lambda _: [answer, is_over, None])
    upstream.reads_bodies = False
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            asked = request(file_input("audio", bytes(15 << 20), "a.wav"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in served.stub.CreateEmbedding(asked, timeout=SECONDS):
                    pass
            is_over.set()
    assert failed(caught.value).info.reason == reason
    assert words in failed(caught.value).message
