"""Retried failures, by status and by the end of the connection."""

import asyncio

import pytest

from tests.e2e.policies.support import Script, Step, Steps, answered, check_journal, ok, refused, says
from tests.support.messages import failed, request, results, text_input, url_input
from tests.support.ports import held_port
from tests.support.serving import Scripted, Serve
from tests.support.upstreams import Visit, reply


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
async def test_a_status_that_is_retried(scripted: Scripted, status: int) -> None:
    """A retried status is invisible to the caller twice in a row; the third fails the call, with the attempts."""
    async with scripted(Steps(status, status)) as (served, upstream):
        assert (await answered(served)).attempts == 3
        upstream.script = Steps(status, status, status)
        failure = failed(await refused(served))
        check_journal(served, upstream)

    assert failure.failure.attempts == 3
    assert failure.failure.upstream_error.http_status == status
    assert failure.trailers["grpc-retry-pushback-ms"] == "-1"
    assert len(upstream.visits) == 6


async def test_500_is_retried_once(scripted: Scripted) -> None:
    """A first HTTP status 500 is retried, a second one is not, whatever came between."""
    async with scripted(Steps(500)) as (served, upstream):
        assert (await answered(served)).attempts == 2
        upstream.script = Steps(500, 500)
        assert failed(await refused(served)).failure.attempts == 2
        upstream.script = Steps(500, 503, 500)
        assert failed(await refused(served)).failure.attempts == 3
        check_journal(served, upstream)


@pytest.mark.parametrize("step", NOT_REPEATED.values(), ids=NOT_REPEATED)
async def test_failures_that_are_not_retried(scripted: Scripted, step: Step) -> None:
    """Other failures are not retried."""
    async with scripted(Steps(step)) as (served, upstream):
        failure = failed(await refused(served))
        check_journal(served, upstream)

    assert failure.failure.attempts == 1
    assert len(upstream.visits) == 1


async def test_a_status_is_retried_although_its_body_is_cut_off(scripted: Scripted) -> None:
    """The status of an error decides about the retry, also if the connection ends within its body."""
    cut = closes(b'HTTP/1.1 503 No\r\nContent-Length: 9000\r\n\r\n{"code":')
    async with scripted(Steps(cut, cut)) as (served, upstream):
        events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
        check_journal(served, upstream)

    assert results(events)[0].attempts == 3


async def test_no_retry_after_the_first_segment(scripted: Scripted) -> None:
    """A failure after a segment was passed on to the caller is not retried."""
    async with scripted(Steps(cut_after_a_segment)) as (served, upstream):
        failure = failed(await refused(served, url_input("audio", "http://media.test/a")))

    assert failure.info.reason == "UPSTREAM_UNAVAILABLE"
    assert failure.failure.attempts == 1
    assert len(upstream.visits) == 1


async def test_a_refused_connection_is_retried(serve: Serve) -> None:
    """A refused connection is attempted three times, and no request is counted as made."""
    with held_port() as port:
        async with serve(upstream=f"http://127.0.0.1:{port}") as served:
            failure = failed(await refused(served))
            assert served.metric("embedwire_upstream_requests_total") == 0
            assert served.metric("embedwire_upstream_connection_failures_total", cause="connection_refused") == 3
            assert served.metric("embedwire_retries_total", reason="UPSTREAM_UNAVAILABLE") == 2

    assert failure.failure.attempts == 0
    assert failure.failure.cause == "connection_refused"


async def test_a_reused_connection_without_a_response_is_retried_once(scripted: Scripted) -> None:
    """A request on a reused connection that closes without a response is retried on another connection."""
    async with scripted(Steps(ok, closes())) as (served, upstream):
        assert (await answered(served)).attempts == 1
        assert (await answered(served)).attempts == 2
        check_journal(served, upstream)
    first, reused, fresh = [visit.writer for visit in upstream.visits]

    assert first is reused
    assert fresh is not reused


async def test_a_new_connection_without_a_response_is_not_retried(scripted: Scripted) -> None:
    """If the next connection closes without a response as well, the call fails."""
    async with scripted(Steps(ok, closes(), closes())) as (served, upstream):
        await answered(served)
        failure = failed(await refused(served))

    assert failure.failure.attempts == 2
    assert len(upstream.visits) == 3


async def test_the_request_is_retried_on_a_new_connection(scripted: Scripted) -> None:
    """After one stale connection the retry uses a new connection, not another idle one, and is made once only."""
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
    assert failure.failure.attempts == 2


async def test_a_reused_connection_that_began_to_answer(scripted: Scripted) -> None:
    """A failure after one byte of a response is not retried on a new connection: the request may have been billed."""
    async with scripted(Steps(ok, closes(b"H"))) as (served, upstream):
        await answered(served)
        failure = failed(await refused(served))

    assert failure.failure.attempts == 1
    assert len(upstream.visits) == 2
