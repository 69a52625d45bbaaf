"""Idle connections that the upstream closes before or upon the next request, and those that it keeps open."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, file_input, request, results, text_input
from tests.support.process import ServerProcess
from tests.support.raw_upstream import SECONDS, RawUpstream, Request, Step, embed, http, vector
from tests.support.serving import Served, serving

TIMEOUT = http(b"", "408 Request Timeout", "Connection: close")
COUNT = 60


class Idle:
    """An upstream that answers its first requests once it has them all, and then closes their connections.

    Args:
        count: number of first requests.
        again: number of connections that get another request before the first of them ends.
        now: whether the connections end when `may_end` is set; otherwise when another request arrives on them.
        ending: the steps with which a connection ends.
    """

    def __init__(self, *ending: Step, count: int = COUNT, again: int = 1, now: bool = False) -> None:
        self._all, self._all_again = threading.Barrier(count), threading.Barrier(again)
        self._count, self._ending, self._now = count, ending, now
        self.may_end = threading.Event()

    def __call__(self, asked: Request) -> Iterator[Step]:
        if 0 <= asked.number < self._count:
            yield lambda: self._all.wait(SECONDS)
            yield http(vector(asked.number))
            if self._now:
                yield self.may_end
                yield from self._ending
        elif asked.order and asked.connection <= self._count:
            yield lambda: self._all_again.wait(SECONDS)
            yield from self._ending
        elif asked.number < 0:  # a file
            yield http(vector(1).replace(b"text", b"image"))
        else:
            yield http(vector(asked.number))

    async def open(self, served: Served) -> None:
        """Open the connections."""
        numbers = list(range(self._count))
        assert await asyncio.gather(*[embed(served, number) for number in numbers]) == numbers


@pytest.mark.parametrize("ending", [[None], [TIMEOUT, None]], ids=["closed", "408"])
async def test_stale_connections_cost_no_retry_budget(ending: list[Step]) -> None:
    """Sixty connections end at their second request, and each of sixty calls is retried on a new connection."""
    idle = Idle(*ending, again=COUNT)
    upstream = RawUpstream(idle)
    with upstream.running() as url:
        async with serving(upstream=url) as served:
            await idle.open(served)
            budget = served.metric("embedwire_retry_budget_tokens")
            numbers = list(range(100, 100 + COUNT))
            assert await asyncio.gather(*[embed(served, number) for number in numbers]) == numbers
            assert served.metric("embedwire_retry_budget_tokens") >= budget
    assert Counter(upstream.numbers) == Counter([*range(COUNT), *numbers * 2])
    assert upstream.connections == 2 * COUNT


@pytest.mark.parametrize("ending", [[None], [TIMEOUT, None]], ids=["closed", "408"])
async def test_a_connection_that_ended_before_the_request(ending: list[Step]) -> None:
    """A closed connection is found before the request is written, also by a busy event loop: nothing is sent twice."""
    idle = Idle(*ending, now=True)
    upstream = RawUpstream(idle)
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            await idle.open(served)
            numbers = list(range(100, 100 + COUNT))
            calls = [asyncio.create_task(embed(served, number)) for number in numbers]
            await asyncio.sleep(0)
            idle.may_end.set()
            for _ in range(COUNT):  # this blocks the event loop of the server
                assert upstream.closed.acquire(timeout=SECONDS)
            assert await asyncio.gather(*calls) == numbers
            assert served.metric("embedwire_upstream_requests_total") == 2 * COUNT
    assert sorted(upstream.numbers) == [*range(COUNT), *numbers]


async def test_a_file_after_a_connection_that_ended() -> None:
    """A file whose connection was closed meanwhile is sent on another one, completely and once."""
    idle = Idle(None, count=1, now=True)
    upstream = RawUpstream(idle)
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            await idle.open(served)
            asked = request(file_input("image", bytes(3 << 20), "a.png"))
            call = asyncio.create_task(_last_event(served, asked))
            await asyncio.sleep(0)
            idle.may_end.set()
            assert upstream.closed.acquire(timeout=SECONDS)
            assert (await call).events[-1].result.attempts == 1
    assert [one.connection for one in upstream.requests] == [1, 2]


async def _last_event(served: Served, asked: pb.CreateEmbeddingRequest) -> pb.CreateEmbeddingResponse:
    return [event async for event in served.stub.CreateEmbedding(asked, timeout=SECONDS)][-1]


async def test_a_retried_request_is_an_attempt() -> None:
    """The result counts two attempts; `max_retries` 0 forbids the second."""
    idle = Idle(None, count=2)
    upstream = RawUpstream(idle)
    with upstream.running() as url:
        async with serving(upstream=url) as served:
            await idle.open(served)
            assert await embed(served, 7, max_retries=0) == "UPSTREAM_UNAVAILABLE"
            asked = request(text_input("number 9"))
            events = [event async for event in served.stub.CreateEmbedding(asked, timeout=SECONDS)]
            assert results(events)[0].attempts == 2
    assert upstream.numbers[2:] == [7, 9, 9]


async def test_a_file_is_retried_on_a_new_connection() -> None:
    """A connection that ends before a file was sent completely is retried as a stale one."""
    idle = Idle(None, count=2)
    upstream = RawUpstream(idle)
    with upstream.running() as url:
        async with serving(upstream=url) as served:
            await idle.open(served)
            upstream.reads_bodies = False
            asked = request(file_input("image", bytes(8 << 20), "a.png"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in served.stub.CreateEmbedding(asked, timeout=SECONDS):
                    pass
    # The second request got a text's response, on a new connection and before the file was sent.
    assert "before the request was sent completely" in failed(caught.value).message
    assert [one.order for one in upstream.requests[2:4]] == [1, 0]


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The TLS context of an upstream whose certificate the servers of the test trust."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_connections_are_reused(tls: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """One connection carries all requests: session tickets, which arrive unrequested, are not unsolicited bytes."""
    tls.maximum_version = tls.minimum_version = version
    upstream = RawUpstream(lambda asked: [http(vector(asked.number))], tls)
    with upstream.running() as url:
        async with ServerProcess.running(upstream=url, retry_max_attempts=1) as server:
            assert [await embed(server, number) for number in range(20)] == list(range(20))
    assert upstream.connections == 1


@pytest.mark.parametrize("extra", [http(vector(500)), b"x"], ids=["response", "byte"])
async def test_unsolicited_bytes_over_tls(tls: ssl.SSLContext, extra: bytes) -> None:
    """Unsolicited bytes over TLS close the connection as they do without TLS."""
    may_send, is_sent = threading.Event(), threading.Event()

    def script(asked: Request) -> Iterator[Step]:
        yield http(vector(asked.number))
        if asked.number == 0:
            yield from (may_send, extra, is_sent.set)

    upstream = RawUpstream(script, tls)
    with upstream.running() as url:
        async with ServerProcess.running(upstream=url, retry_max_attempts=1) as server:
            first = await embed(server, 0)
            may_send.set()
            await asyncio.to_thread(is_sent.wait, SECONDS)
            assert [first, await embed(server, 1), await embed(server, 2)] == [0, 1, 2]
    assert [one.connection for one in upstream.requests] == [1, 2, 2]
