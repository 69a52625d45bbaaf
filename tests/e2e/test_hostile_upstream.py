"""Invalid responses of the upstream: each has its reason, none reaches the caller as a vector, none crashes."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, request, results, segments, text_input, url_input
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, reply

Script = Callable[[Visit], Awaitable[None]]

MALFORMED = ("UPSTREAM_MALFORMED_REPLY", grpc.StatusCode.INTERNAL)
UNAVAILABLE = ("UPSTREAM_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
TIMEOUT = ("UPSTREAM_TIMEOUT", grpc.StatusCode.UNAVAILABLE)
REJECTED = ("INPUT_REJECTED", grpc.StatusCode.INVALID_ARGUMENT)
INCOMPATIBLE = ("UPSTREAM_INCOMPATIBLE", grpc.StatusCode.INTERNAL)
CREDENTIALS = ("UPSTREAM_CREDENTIALS", grpc.StatusCode.FAILED_PRECONDITION)
RATE_LIMITED = ("UPSTREAM_RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED)


def answers(body: bytes | dict[str, Any], status: int = 200, **headers: str) -> Script:
    async def script(visit: Visit) -> None:
        await visit.answer(body, status, **headers)

    return script


def raw(data: bytes) -> Script:
    async def script(visit: Visit) -> None:
        await visit.send(data)
        visit.writer.close()

    return script


def later(first: bytes, then: bytes) -> Script:
    """Two pieces, the second after the first has been read; the connection stays open."""

    async def script(visit: Visit) -> None:
        await visit.send(first)
        await visit.pause(0.1)
        await visit.send(then)
        await visit.gone()

    return script


def number(text: str) -> bytes:
    """A valid reply except for the first number of its vector."""
    return json.dumps(reply()).encode().replace(b"0.5", text.encode(), 1)


def error(code: str, message: str = "no") -> dict[str, Any]:
    return {"code": code, "message": message, "docs_url": "https://docs.test"}


GOOD = json.dumps(reply()).encode()
CASES: dict[str, tuple[Script, tuple[str, grpc.StatusCode]]] = {
    "html": (answers(b"<html>ok</html>"), MALFORMED),
    "empty-body": (answers(b""), MALFORMED),
    "cut-json": (answers(GOOD[:-40]), MALFORMED),
    "two-documents": (answers(GOOD + GOOD), MALFORMED),
    "list": (answers(b"[]"), MALFORMED),
    "empty-object": (answers({}), MALFORMED),
    "no-model-name": (answers({"text_embedding": reply()["text_embedding"]}), MALFORMED),
    "no-segments": (answers(reply(segments=0)), MALFORMED),
    "segments-null": (answers({"model_name": "m", "text_embedding": {"segments": None}}), MALFORMED),
    "no-embedding": (answers({"model_name": "m"}), MALFORMED),
    "two-segments-for-a-text": (answers(reply(segments=2)), MALFORMED),
    "other-modality": (answers(reply("image_embedding")), MALFORMED),
    "empty-vector": (answers(reply(dimensions=0)), MALFORMED),
    "wrong-dimensions": (answers(reply(dimensions=1024)), MALFORMED),
    "nan": (answers(number("NaN")), MALFORMED),
    "infinity": (answers(number("Infinity")), MALFORMED),
    "too-large-for-double": (answers(number("1e400")), MALFORMED),
    "too-large-for-float32": (answers(number("1e39")), MALFORMED),
    "true": (answers(number("true")), MALFORMED),
    "null": (answers(number("null")), MALFORMED),
    "string": (answers(number('"0.5"')), MALFORMED),
    "nested": (answers(number("[0.5]")), MALFORMED),
    "not-utf-8": (answers(GOOD.replace(b"marengo3.0", b"\xff\xfe")), MALFORMED),
    "deeply-nested": (answers(b'{"a":' * 100_000), MALFORMED),
    "endless-string": (answers(b'{"model_name":"' + b"a" * 900_000 + b'"}'), MALFORMED),
    "number-after-a-segment": (answers(GOOD.replace(b"}]", b"}e5]")), MALFORMED),
    "second-list-of-segments": (answers(GOOD.replace(b"}]", b'}],"segments":[0]')), MALFORMED),
    "no-api-at-all": (answers(b"<html>teapot</html>", 418), INCOMPATIBLE),
    "proxy-page": (answers(b"<html>bad request</html>", 400), REJECTED),
    "forgotten-base-path": (answers(error("not_found"), 404), INCOMPATIBLE),
    "error-message": (answers(reply(segments=0, error_message="The text is too long.")), REJECTED),
    "error-message-and-segments": (answers(reply(error_message="The text is too long.")), REJECTED),
    "no-content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), MALFORMED),
    "redirect": (answers(b"", 307, Location=f"http://{NO_SERVER}/"), INCOMPATIBLE),
    "not-found": (answers(b"nothing here", 404), INCOMPATIBLE),
    "rejected": (answers(error("parameter_invalid"), 400), REJECTED),
    "rejected-without-a-word": (answers(b"", 400), REJECTED),
    "key-refused": (answers(error("api_key_invalid"), 401), CREDENTIALS),
    "rate-limited": (answers(error("too_many_requests"), 429, Retry_After="1"), RATE_LIMITED),
    "rate-limited-without-a-word": (answers(b"", 429), RATE_LIMITED),
    "server-error": (answers(b"<html>oops</html>", 500), UNAVAILABLE),
    "unavailable": (answers(b"", 503), UNAVAILABLE),
    "timeout": (answers(b"", 504), TIMEOUT),
    "no-http": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), MALFORMED),
    "closed-without-a-byte": (raw(b""), UNAVAILABLE),
    "closed-in-the-headers": (raw(b"HTTP/1.1 200 OK\r\nContent-"), UNAVAILABLE),
    "closed-in-the-body": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + GOOD[:1000]), UNAVAILABLE),
    "endless-header": (raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n{}"), MALFORMED),
    "broken-chunks": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), MALFORMED),
    "broken-chunks-later": (
        later(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"zz\r\n"),
        MALFORMED,
    ),
    "broken-head-later": (later(b"HTTP/1.1 200 OK\r\n", b"no header\r\n\r\n"), MALFORMED),
    "broken-gzip": (answers(b"no gzip", Content_Encoding="gzip"), MALFORMED),
    "cut-gzip": (answers(gzip.compress(GOOD)[:-9], Content_Encoding="gzip"), MALFORMED),
    "brotli": (answers(b"no brotli", Content_Encoding="br"), MALFORMED),
    "rejected-in-gzip": (
        answers(gzip.compress(json.dumps(error("parameter_invalid")).encode()), 400, Content_Encoding="gzip"),
        REJECTED,
    ),
    "rejected-in-brotli": (answers(b"no brotli", 400, Content_Encoding="br"), REJECTED),
    "rate-limited-in-zstd": (answers(b"no zstd", 429, Content_Encoding="zstd"), RATE_LIMITED),
    "unavailable-in-broken-gzip": (answers(b"no gzip", 503, Content_Encoding="gzip"), UNAVAILABLE),
}


@pytest.mark.parametrize(("script", "expected"), CASES.values(), ids=CASES)
async def test_an_invalid_response_has_its_reason(
    scripted: Scripted, script: Script, expected: tuple[str, grpc.StatusCode]
) -> None:
    """The input fails with the expected reason and code, and the server serves further calls."""
    async with scripted(script, retry_max_attempts=1) as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
        failure = failed(caught.value)
        assert (failure.info.reason, failure.code) == expected
        await until(lambda: served.metric("embedwire_requests_total", reason=expected[0]) == 1)
        assert served.metric("embedwire_upstream_requests_total", reason=expected[0]) == 1
        assert served.metric("embedwire_inputs_in_flight") == 0

        upstream.script = answers(reply())
        events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
        assert results(events)[0].segment_count == 1


async def test_segments_before_the_fault_are_void(scripted: Scripted) -> None:
    """Segments that were streamed before a fault are followed by a failed result, which invalidates them."""
    good = json.dumps(reply("audio_embedding", segments=2)).encode()
    async with scripted(answers(good[:-60])) as (served, _):
        inputs = [url_input("audio", "http://media.test/a.mp3"), url_input("audio", "http://media.test/b.mp3")]
        events = [event async for event in served.stub.CreateEmbedding(request(*inputs), timeout=20)]

    assert segments(events)
    for result in results(events).values():
        assert result.failure.reason == 207
        assert result.dimensions == 0


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(GOOD), "gzip"),
        (gzip.compress(GOOD), "identity, X-GZIP"),
        (gzip.compress(GOOD), "identity\r\nContent-Encoding: gzip"),
        (gzip.compress(GOOD[:99]) + gzip.compress(GOOD[99:]), "gzip"),
        (zlib.compress(GOOD), "Deflate"),
        (zlib.compress(GOOD)[2:-4], "deflate"),
        (GOOD, "identity"),
        (GOOD, ""),
        (gzip.compress(gzip.compress(GOOD)), "gzip, gzip"),
        (GOOD, "utf-8"),
    ],
    ids=[
        *("gzip", "identity-and-x-gzip", "two-headers", "members", "deflate", "raw-deflate", "identity", "empty"),
        *("gzip-twice", "charset"),
    ],
)
async def test_a_compressed_reply_is_read(scripted: Scripted, body: bytes, coding: str) -> None:
    """A compressed reply is decoded, although the request does not accept one."""
    async with scripted(answers(body, Content_Encoding=coding)) as (served, upstream):
        events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]

    assert results(events)[0].segment_count == 1
    assert upstream.visits[0].headers["accept-encoding"] == "identity"


async def test_an_unsupported_content_coding_is_named(scripted: Scripted) -> None:
    """The message names the content coding."""
    async with scripted(answers(b"x", Content_Encoding="Br")) as (served, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
    assert "its content coding br is not supported" in failed(caught.value).message


async def test_retry_after_is_passed_on(scripted: Scripted) -> None:
    """The Retry-After of a 429 is passed on as the retry delay, together with the headers."""
    script = answers(error("too_many_requests"), 429, Retry_After="7", X_RateLimit_Request_Remaining="0")
    async with scripted(script, retry_max_attempts=1) as (served, _):
        asked = request(text_input(), text_input())
        events = [event async for event in served.stub.CreateEmbedding(asked, timeout=20)]
    failure = results(events)[0].failure

    assert failure.retry_delay.seconds == 7
    assert failure.upstream_error.rate_limit_headers["x-ratelimit-request-remaining"] == "0"


async def test_connection_refused(scripted: Scripted) -> None:
    """An upstream that cannot be reached is UNAVAILABLE, without its address in the message."""
    async with scripted(answers(b""), upstream=f"http://{NO_SERVER}") as (served, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
    failure = failed(caught.value)

    assert (failure.info.reason, failure.code) == UNAVAILABLE
    assert "127.0.0.1" not in failure.message


async def test_the_key_is_not_shown(scripted: Scripted, capfd: pytest.CaptureFixture[str]) -> None:
    """A refusal of the upstream that quotes the key is passed on without the key."""
    script = answers(error("api_key_invalid", "The key tlk_CANARY is not valid."), 401, X_RateLimit_Key="tlk_CANARY")
    async with scripted(script, log_level="debug", api_key="tlk_CANARY") as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
        events = [event async for event in served.stub.CreateEmbedding(request(text_input(), text_input()), timeout=60)]
        shown = [str(caught.value.trailing_metadata()), caught.value.details(), str(events), served.metrics()]
        shown += [repr(served.app), repr(vars(served.app))]

    assert upstream.visits[0].headers["x-api-key"] == "tlk_CANARY"
    assert failed(caught.value).info.reason == "UPSTREAM_CREDENTIALS"
    assert "tlk_CANARY" not in "".join([*map(str, shown), *capfd.readouterr()])


async def test_names_in_a_reply_are_sanitised(scripted: Scripted) -> None:
    """Names in a successful reply reach the caller without control characters, truncated, and without the key."""
    metadata = {"input_filename": "a\r\nb tlk_CANARY"}
    body = reply("image_embedding", metadata=metadata) | {"model_name": "m\x00 tlk_CANARY " + "x" * 2000}
    async with scripted(answers(body), api_key="tlk_CANARY\n") as (served, upstream):
        asked = request(url_input("image", "http://media.test/a"))
        events = [event async for event in served.stub.CreateEmbedding(asked, timeout=20)]
    result = results(events)[0]

    assert upstream.visits[0].headers["x-api-key"] == "tlk_CANARY"
    assert result.metadata.input_filename == "a b [key]"
    assert result.model_name.startswith("m  [key] x")
    assert len(result.model_name) < 1025


async def test_an_endless_string_does_not_delay_other_calls(scripted: Scripted) -> None:
    """Replies with one string of a megabyte take so little time that other calls are answered."""
    async with scripted(answers(b'{"model_name":"' + b"a" * (1 << 20) + b'"}')) as (served, _):
        asked = request(*[text_input()] * 8)
        bad = asyncio.ensure_future(_take(served.stub.CreateEmbedding(asked, timeout=20)))
        for _ in range(20):
            await served.stub.ListModels(pb.ListModelsRequest(), timeout=2)
        assert len(results(await bad)) == 8


async def _take(call: Any) -> list[Any]:
    return [event async for event in call]
