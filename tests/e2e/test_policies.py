"""Retries, pacing and admission as callers and the upstream see them, over real sockets."""

import asyncio
import contextlib
import datetime as dt
import email.utils
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2 as reasons
from tests.support import media
from tests.support.messages import failed, file_input, request, results, text_input, upload_input, url_input
from tests.support.ports import held_port
from tests.support.serving import Scripted, Serve, Served
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

Script = Callable[[Visit], Awaitable[None]]
Step = Script | int
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
LARGE = 12 << 20  # more than all buffers between two sockets hold


def good(visit: Visit) -> dict[str, Any]:
    """The reply that the request asks for."""
    modality = next(name for name in ("text", "image", "audio") if f'name="{name}'.encode() in visit.body)
    return reply(f"{modality}_embedding")


def says(body: bytes | dict[str, Any] = b"", status: int = 200, **headers: str) -> Script:
    async def script(visit: Visit) -> None:
        await visit.answer(body, status, **headers)

    return script


async def ok(visit: Visit) -> None:
    await visit.answer(good(visit))


def closes(after: bytes = b"") -> Script:
    async def script(visit: Visit) -> None:
        await visit.send(after)
        visit.writer.close()

    return script


async def cut_after_a_segment(visit: Visit) -> None:
    head = b'{"model_name":"m","audio_embedding":{"segments":['
    segment = (
        b'{"start_offset_sec":0,"end_offset_sec":6,"embedding_option":"audio","float":[' + b"0.5," * 511 + b"0.5]},"
    )
    await visit.head(200, 100_000)
    await visit.send(head + segment)
    visit.writer.close()


class Steps:
    """One step after the other, a status or a script; then all is well."""

    def __init__(self, *steps: Step) -> None:
        self.left = list(steps)
        self.times: list[float] = []

    async def __call__(self, visit: Visit) -> None:
        self.times.append(time.monotonic())
        step: Step = self.left.pop(0) if self.left else ok
        if step == 429:
            step = says(status=step, Retry_After="0.05")  # without a hint the hold would take a second
        script = says(status=step) if isinstance(step, int) else step
        await script(visit)


async def answered(served: Served, *inputs: pb.Input, seconds: float = 20, **more: Any) -> pb.InputResult:
    """Embed one input; its result."""
    asked = request(*(inputs or (text_input(),)), **more)
    events = [event async for event in served.stub.CreateEmbedding(asked, timeout=seconds)]
    return results(events)[0]


async def refused(served: Served, *inputs: pb.Input, seconds: float = 20, **more: Any) -> grpc.aio.AioRpcError:
    """Embed one input in vain; why."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answered(served, *inputs, seconds=seconds, **more)
    return caught.value


def quota_of(error: grpc.aio.AioRpcError) -> tuple[list[str], float]:
    """The limits that a refusal names, and the time to wait in its RetryInfo."""
    status = status_pb2.Status.FromString(failed(error).trailers["grpc-status-details-bin"])
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    found = [detail.Unpack(message) for detail in status.details for message in (retry, quota)]
    assert any(found)
    return [violation.subject for violation in quota.violations], retry.retry_delay.ToTimedelta().total_seconds()


def check_journal(served: Served, upstream: ScriptedHttpServer) -> None:
    """Every request that the upstream received is in the metrics, and no other."""
    assert served.metric("embedwire_upstream_requests_total") == len(upstream.visits)


# --- the closed list ---

REPEATED = [408, 409, 429, 502, 503, 504]
NOT_REPEATED: dict[str, Step] = {
    **{str(status): status for status in (400, 401, 402, 403, 404, 405, 413, 415, 422, 499, 501, 505, 307)},
    "malformed": says(b"{}"),
    "html": says(b"<html>ok</html>"),
    "error_message": says(reply(segments=0, error_message="The text is too long.")),
    "quota": says({"code": "usage_limit_exceeded", "message": "no"}, 429),
    "rejected with 503": says({"code": "parameter_invalid", "message": "no"}, 503),
    "closed without a byte": closes(),
    "closed in the status line": closes(b"HTTP/1.1 2"),
    "closed in the headers": closes(b"HTTP/1.1 200 OK\r\nContent-"),
    "closed after the headers": closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"),
    "closed in the body": closes(b'HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{"model_name":'),
    "no HTTP": closes(b"SSH-2.0-OpenSSH_9.2\r\n"),
}


@pytest.mark.parametrize("status", REPEATED)
async def test_a_status_that_is_repeated(scripted: Scripted, status: int) -> None:
    """Two of them in a row are nothing that the caller notices; three are its failure, with the attempts."""
    async with scripted(Steps(status, status)) as (served, upstream):
        assert (await answered(served)).attempts == 3
        upstream.script = Steps(status, status, status)
        failure = failed(await refused(served))
        check_journal(served, upstream)

    assert failure.info.metadata["attempts"] == "3"
    assert failure.info.metadata["http_status"] == str(status)
    assert failure.trailers["grpc-retry-pushback-ms"] == "-1"
    assert len(upstream.visits) == 6


async def test_500_is_repeated_once(scripted: Scripted) -> None:
    """One 500 is repeated, a second is not, whatever came between."""
    async with scripted(Steps(500)) as (served, upstream):
        assert (await answered(served)).attempts == 2
        upstream.script = Steps(500, 500)
        assert failed(await refused(served)).info.metadata["attempts"] == "2"
        upstream.script = Steps(500, 503, 500)
        assert failed(await refused(served)).info.metadata["attempts"] == "3"
        check_journal(served, upstream)


@pytest.mark.parametrize("step", NOT_REPEATED.values(), ids=NOT_REPEATED)
async def test_what_is_not_repeated(scripted: Scripted, step: Step) -> None:
    """Nothing else is sent again."""
    async with scripted(Steps(step)) as (served, upstream):
        failure = failed(await refused(served))
        check_journal(served, upstream)

    assert failure.info.metadata["attempts"] == "1"
    assert len(upstream.visits) == 1


async def test_a_status_is_repeated_although_its_body_is_cut_off(scripted: Scripted) -> None:
    """The status of an error decides whether it is repeated, also if the connection ends within its body."""
    cut = closes(b'HTTP/1.1 503 No\r\nContent-Length: 9000\r\n\r\n{"code":')
    async with scripted(Steps(cut, cut)) as (served, upstream):
        events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
        check_journal(served, upstream)

    assert results(events)[0].attempts == 3


async def test_nothing_after_the_first_segment(scripted: Scripted) -> None:
    """What broke after a segment was handed on is not repeated."""
    async with scripted(Steps(cut_after_a_segment)) as (served, upstream):
        failure = failed(await refused(served, url_input("audio", "http://media.test/a")))

    assert failure.info.reason == "UPSTREAM_UNAVAILABLE"
    assert failure.info.metadata["attempts"] == "1"
    assert len(upstream.visits) == 1


async def test_a_refused_connection_is_repeated(serve: Serve) -> None:
    """Where nobody listens three connections are tried, and no request is counted as made."""
    with held_port() as port:
        async with serve(upstream=f"http://127.0.0.1:{port}") as served:
            failure = failed(await refused(served))
            assert served.metric("embedwire_upstream_requests_total") == 0
            assert served.metric("embedwire_upstream_connection_failures_total", cause="connection_refused") == 3
            assert served.metric("embedwire_retries_total", reason="UPSTREAM_UNAVAILABLE") == 2

    assert failure.info.metadata["attempts"] == "0"
    assert failure.info.metadata["cause"] == "connection_refused"


async def test_a_reused_connection_without_an_answer_is_repeated_once(scripted: Scripted) -> None:
    """A connection that was kept open and closes upon the next request had died before; another is used."""
    async with scripted(Steps(ok, closes())) as (served, upstream):
        assert (await answered(served)).attempts == 1
        assert (await answered(served)).attempts == 2
        check_journal(served, upstream)
    first, reused, fresh = [visit.writer for visit in upstream.visits]

    assert first is reused
    assert fresh is not reused


async def test_a_fresh_connection_without_an_answer_is_not(scripted: Scripted) -> None:
    """If the connection that follows closes as well, it was not its age: the failure is the caller's."""
    async with scripted(Steps(ok, closes(), closes())) as (served, upstream):
        await answered(served)
        failure = failed(await refused(served))

    assert failure.info.metadata["attempts"] == "2"
    assert len(upstream.visits) == 3


async def test_the_request_is_repeated_on_a_new_connection(scripted: Scripted) -> None:
    """Of two idle connections the second is not tried after the first was stale; a new one is, and once only."""
    both = asyncio.Event()

    async def together(visit: Visit) -> None:
        if len(upstream.visits) == 2:
            both.set()
        await both.wait()
        await ok(visit)

    async with scripted(together) as (served, upstream):
        await asyncio.gather(answered(served), answered(served))
        upstream.script = Steps(closes(), closes())
        failure = failed(await refused(served))
        check_journal(served, upstream)

    assert len({visit.writer for visit in upstream.visits}) == 3
    assert failure.info.metadata["attempts"] == "2"


async def test_a_reused_connection_that_began_to_answer(scripted: Scripted) -> None:
    """One byte of an answer is an answer: it may have been billed."""
    async with scripted(Steps(ok, closes(b"H"))) as (served, upstream):
        await answered(served)
        failure = failed(await refused(served))

    assert failure.info.metadata["attempts"] == "1"
    assert len(upstream.visits) == 2


# --- the body ---


class Cutting:
    """An upstream that takes so many bytes of the first requests and resets the connection; later it answers."""

    def __init__(self, *takes: int) -> None:
        self.takes = list(takes)
        self.bodies: list[bytes] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 25)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if self.takes:
            self.bodies.append(await reader.readexactly(self.takes.pop(0)))
            writer.transport.abort()
            return
        self.bodies.append(await reader.readexactly(length))
        visit = Visit("/embed", {}, self.bodies[-1], reader, writer, asyncio.Event())
        await ok(visit)
        writer.close()
        await writer.wait_closed()


def without_boundary(body: bytes) -> bytes:
    """A multipart body as far as it says something: each attempt has its own boundary."""
    return body.replace(body.partition(b"\r\n")[0], b"--")


async def upload(served: Served, data: bytes, sizes: int = 256 << 10) -> pb.InputResult:
    async def messages() -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
        asked = request(upload_input("audio", file_name="a.wav"))
        yield pb.CreateEmbeddingFromUploadRequest(request=asked)
        for start in range(0, len(data), sizes):
            chunk = pb.UploadChunk(data=data[start : start + sizes], last=start + sizes >= len(data))
            yield pb.CreateEmbeddingFromUploadRequest(chunk=chunk)

    events = [event async for event in served.stub.CreateEmbeddingFromUpload(messages(), timeout=30)]
    return results(events)[0]


DATA = bytes(range(256)) * (3 << 12)


@pytest.mark.parametrize("way", ["text", "file", "upload in memory", "upload on disk"])
async def test_the_whole_body_again(scripted: Scripted, way: str) -> None:
    """Each attempt sends the same body, whole, wherever the content is kept."""
    async with scripted(Steps(503, 502)) as (served, upstream):
        if way.startswith("upload"):
            result = await upload(served, DATA if way.endswith("disk") else DATA[:1000])
        else:
            result = await answered(
                served, text_input("ä fox") if way == "text" else file_input("image", DATA, "a.png")
            )
    bodies = [without_boundary(visit.body) for visit in upstream.visits]

    assert result.attempts == 3
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert {"text": "ä fox".encode(), "file": DATA, "upload on disk": DATA}.get(way, DATA[:1000]) in bodies[0]


@pytest.mark.parametrize("takes", [[0], [100_000], [100_000, 1_000_000]])
async def test_a_body_that_was_not_handed_over(serve: Serve, takes: list[int]) -> None:
    """A connection that breaks in the middle of a body is no answer: all of it is sent again."""
    data = bytes(range(256)) * (LARGE >> 8)
    cutting = Cutting(*takes)
    async with cutting.running() as url, serve(upstream=url) as served:
        result = await answered(served, file_input("audio", data, "a.wav"))
        assert served.metric("embedwire_upstream_requests_total") == len(takes) + 1

    assert result.attempts == len(takes) + 1
    *parts, whole = map(without_boundary, cutting.bodies)
    assert data in whole
    for part in parts[1:]:
        assert whole.startswith(part[:50_000])


async def test_an_upload_that_is_never_taken(serve: Serve) -> None:
    """Three broken attempts are the caller's failure."""
    cutting = Cutting(*[100_000] * 9)
    async with cutting.running() as url, serve(upstream=url) as served:
        failure = failed(await refused(served, file_input("audio", b"x" * LARGE, "a.wav")))

    assert failure.info.reason == "UPSTREAM_UNAVAILABLE"
    assert failure.info.metadata["attempts"] == "3"


# --- attempts and time ---


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 2), (2, 3), (4_000_000_000, 3)])
async def test_max_retries(scripted: Scripted, max_retries: int, attempts: int) -> None:
    """The caller can ask for fewer attempts, and gets no more."""
    async with scripted(Steps(*[503] * 9)) as (served, upstream):
        failure = failed(await refused(served, max_retries=max_retries))

    assert failure.info.metadata["attempts"] == str(attempts)
    assert len(upstream.visits) == attempts


async def test_retry_after_is_kept(scripted: Scripted) -> None:
    """The next attempt comes when the upstream asked for it."""
    async with scripted(steps := Steps(says(status=503, Retry_After="1"))) as (served, _):
        await answered(served)

    assert 1.0 <= steps.times[1] - steps.times[0] <= 1.5


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (503, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        (504, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_TIMEOUT"),
        (429, EXHAUSTED, "UPSTREAM_RATE_LIMITED"),
    ],
)
async def test_no_time_for_another_attempt(scripted: Scripted, status: int, code: grpc.StatusCode, reason: str) -> None:
    """If the next attempt cannot end in time, the caller hears of the upstream's failure, and at once."""
    async with scripted(Steps(says(status=status, Retry_After="60"))) as (served, upstream):
        began = time.monotonic()
        error = await refused(served, seconds=30)
        took = time.monotonic() - began
        assert served.metric("embedwire_retries_suppressed_total", cause="deadline") == 1

    assert (failed(error).code, failed(error).info.reason) == (code, reason)
    assert quota_of(error)[1] == 60
    assert took < 30
    assert len(upstream.visits) == 1


async def test_each_input_has_its_attempts(scripted: Scripted) -> None:
    """In a call with several inputs each result counts its own."""
    failures = {b"red": 1, b"two": 2, b"six": 6}

    async def script(visit: Visit) -> None:
        name = next((name for name in failures if name in visit.body), b"")
        left = failures.get(name, 0)
        failures[name] = left - 1
        await (says(status=503) if left > 0 else ok)(visit)

    async with scripted(script) as (served, upstream):
        inputs = [text_input(text) for text in ("good", "a red fox", "two", "six")]
        events = [event async for event in served.stub.CreateEmbedding(request(*inputs), timeout=20)]
        check_journal(served, upstream)
    found = results(events)

    assert [found[index].attempts for index in range(4)] == [1, 2, 3, 3]
    assert [found[index].HasField("failure") for index in range(4)] == [False, False, False, True]


async def test_an_outage_is_no_storm(scripted: Scripted) -> None:
    """While the upstream is down it gets a fifth more requests than there are inputs, and the reserve."""
    async with scripted(says(status=503)) as (served, upstream):
        for _ in range(4):
            events = [event async for event in served.stub.CreateEmbedding(request(*[text_input()] * 100), timeout=30)]
            assert {result.failure.reason for result in results(events).values()} == {
                reasons.ERROR_REASON_UPSTREAM_UNAVAILABLE
            }
        check_journal(served, upstream)
        assert served.metric("embedwire_retry_budget_tokens") < 1

    assert len(upstream.visits) <= 400 * 1.2 + 20


# --- the upstream's rate limits ---


def at(seconds: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


HOLDS: dict[str, tuple[Callable[[], Script], float]] = {
    "seconds": (lambda: says(status=429, Retry_After="30"), 30),
    "date": (lambda: says(status=429, Retry_After=email.utils.format_datetime(at(30), usegmt=True)), 30),
    "a million": (lambda: says(status=429, Retry_After="1000000"), 3600),
    "empty body": (lambda: says(b"", 429), 1),
    "nonsense": (lambda: says(status=429, Retry_After="soon"), 1),
    "reset": (lambda: says(status=429, X_Ratelimit_Reset=str(int(at(30).timestamp()))), 30),
    "reset of requests": (
        lambda: says(
            status=429, X_RateLimit_Request_Remaining="0", X_RateLimit_Request_Reset=str(int(at(30).timestamp()))
        ),
        30,
    ),
    "details": (
        lambda: says({"error": {"code": "RATE_LIMIT_EXCEEDED", "details": {"retryAfter": "30"}}}, 429),
        30,
    ),
    "draft": (lambda: says(status=429, RateLimit='"default";r=0;t=30'), 30),
    "older draft": (lambda: says(status=429, RateLimit="limit=60, remaining=0, reset=30"), 30),
    "words": (lambda: says({"code": "too_many_requests", "message": "Try again after 30 seconds."}, 429), 30),
    "a good reply": (
        lambda: says(reply(), X_Ratelimit_Remaining="0", X_Ratelimit_Reset=str(int(at(30).timestamp()))),
        30,
    ),
}


@pytest.mark.parametrize(("script", "seconds"), HOLDS.values(), ids=HOLDS)
async def test_a_hold(scripted: Scripted, script: Callable[[], Script], seconds: float) -> None:
    """However it is said: until then no text of this credential is sent, and whoever has no time is told."""
    async with scripted(Steps(script()), accept_upstream_keys=True) as (served, upstream):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await answered(served, max_retries=0)
        began = time.monotonic()
        patience = 0.5 if seconds == 1 else 15  # in any case less than the hold
        error = await refused(served, seconds=patience)
        took = time.monotonic() - began
        assert len(upstream.visits) == 1
        await answered(served, url_input("image", "http://media.test/a"))
        await served.stub.CreateEmbeddingUnary(
            pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()]),
            metadata=[("x-upstream-api-key", "another")],
        )
        check_journal(served, upstream)
    limits, delay = quota_of(error)

    assert (failed(error).code, failed(error).info.reason) == (EXHAUSTED, "RATE_LIMITED")
    assert limits == ["text requests to the upstream"]
    assert delay == pytest.approx(seconds, rel=0.2, abs=1.5)
    assert took < patience
    assert len(upstream.visits) == 3


async def test_a_hold_that_fits_is_waited_for(scripted: Scripted) -> None:
    """Callers with time wait, all of them, and are answered after it; none is there before."""
    async with scripted(steps := Steps(says(status=429, Retry_After="1"))) as (served, upstream):
        first = asyncio.create_task(answered(served))
        while not steps.times:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        rest = await asyncio.gather(first, *[answered(served) for _ in range(5)])
        check_journal(served, upstream)

    assert [result.attempts for result in rest] == [2, 1, 1, 1, 1, 1]
    for when in steps.times[1:]:
        assert when - steps.times[0] >= 1.0


async def test_a_guess_is_followed_by_one_request(scripted: Scripted) -> None:
    """After a 429 without a hint one request is sent, and the others when it has been answered."""
    is_open = asyncio.Event()

    async def held(visit: Visit) -> None:
        await is_open.wait()
        await ok(visit)

    async with scripted(steps := Steps(says(b"", 429), *[held] * 5)) as (served, upstream):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await answered(served, max_retries=0)
        tasks = [asyncio.create_task(answered(served)) for _ in range(5)]
        while len(upstream.visits) < 2:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert len(upstream.visits) == 2
        is_open.set()
        await asyncio.gather(*tasks)

    assert len(steps.times) == 6


async def test_a_probe_whose_caller_leaves(scripted: Scripted) -> None:
    """If the caller of that one request goes away, the next takes its place."""

    async def hangs(visit: Visit) -> None:
        await visit.gone()

    async with scripted(Steps(says(b"", 429), hangs)) as (served, upstream):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await answered(served, max_retries=0)
        first = asyncio.create_task(answered(served))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(answered(served))
        while len(upstream.visits) < 2:
            await asyncio.sleep(0.02)
        assert not second.done()
        first.cancel()
        assert (await second).attempts == 1
        with pytest.raises(asyncio.CancelledError):
            await first


# --- configured limits ---


async def test_a_configured_limit(scripted: Scripted) -> None:
    """What does not fit before its deadline fails at once and names the limit; the upstream hears nothing of it."""
    async with scripted(Steps(), text_requests_per_minute=1) as (served, upstream):
        await answered(served)
        error = await refused(served, seconds=10)
        await answered(served, url_input("image", "http://media.test/a"))
        check_journal(served, upstream)
        assert served.metric("embedwire_rate_limit_rejections_total", limit="text requests per minute") == 1
    limits, delay = quota_of(error)

    assert (failed(error).code, failed(error).info.reason) == (EXHAUSTED, "RATE_LIMITED")
    assert limits == ["text requests per minute"]
    assert 50 < delay <= 61
    assert "attempts" not in failed(error).info.metadata
    assert len(upstream.visits) == 2


async def test_configured_minutes(scripted: Scripted) -> None:
    """The minutes of a file are read from its header before it is sent."""

    async def whole(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", segments=(len(visit.body) // 16_000 + 5) // 6))

    async with scripted(whole, audio_minutes_per_hour=1) as (served, upstream):
        await answered(served, file_input("audio", media.wav(45, rate=8000), "a.wav"))
        error = await refused(served, file_input("audio", media.wav(20, rate=8000), "b.wav"))
        await answered(served, file_input("audio", media.wav(10, rate=8000), "c.wav"))
        never = await refused(served, file_input("audio", media.wav(70, rate=8000), "d.wav"))
        check_journal(served, upstream)

    assert quota_of(error)[0] == ["audio minutes per hour"]
    assert 3500 < quota_of(error)[1] <= 3601
    assert "split it" in failed(never).message
    assert quota_of(never) == (["audio minutes per hour"], 0)
    assert len(upstream.visits) == 2


# --- admission ---


async def test_overload(scripted: Scripted) -> None:
    """Calls beyond the places are refused before anything began, told when to come back; others are not touched."""
    is_open = asyncio.Event()

    async def held(visit: Visit) -> None:
        await is_open.wait()
        await ok(visit)

    async with scripted(held, inputs_in_flight=2, inputs_queued=2) as (served, upstream):
        tasks = [asyncio.create_task(answered(served)) for _ in range(4)]
        while served.metric("embedwire_concurrency_queue_length", modality="text") < 2:
            await asyncio.sleep(0.02)
        began = time.monotonic()
        error = await refused(served)
        took = time.monotonic() - began
        upstream.script = ok
        await answered(served, url_input("image", "http://media.test/a"))
        assert served.metric("embedwire_requests_shed_total", resource="text") == 1
        is_open.set()
        await asyncio.gather(*tasks)
        await answered(served)
        check_journal(served, upstream)
    failure = failed(error)

    assert (failure.code, failure.info.reason) == (EXHAUSTED, "OVERLOADED")
    assert int(failure.trailers["grpc-retry-pushback-ms"]) > 0
    assert 0 < quota_of(error)[1] < 60
    assert took < 20  # while all places were taken


async def test_places_after_cancellations(scripted: Scripted) -> None:
    """Whatever a call waits for when its caller leaves, its place is free afterwards."""

    async def slow(visit: Visit) -> None:
        await visit.gone()

    async with scripted(slow, inputs_in_flight=2, inputs_queued=2) as (served, upstream):
        for _ in range(10):
            tasks = [asyncio.create_task(answered(served)) for _ in range(4)]
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        upstream.script = ok
        while served.metric("embedwire_inputs_in_flight", modality="text") > 0:
            await asyncio.sleep(0.02)
        assert len(await asyncio.gather(*[answered(served) for _ in range(4)])) == 4
