"""The metrics port: its responses, and its limits for slow, silent and hostile clients."""

import asyncio
import contextlib
import gzip
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.observability.heartbeat import Heartbeat
from embedwire_server.observability.http import connections
from embedwire_server.observability.http.routes import application
from embedwire_server.observability.http.server import HttpServer
from embedwire_server.observability.readiness import Readiness
from tests.support.http import ask, connected, received
from tests.support.messages import text_input
from tests.support.process import ServerProcess

TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])


def serving(registry: CollectorRegistry) -> HttpServer:
    return HttpServer("127.0.0.1", 0, application(registry, Readiness(), Heartbeat(), 30))


@pytest.fixture
def port() -> Iterator[int]:
    registry = CollectorRegistry()
    Gauge("first", "", registry=registry)
    Gauge("second", "", registry=registry)
    with serving(registry) as endpoint:
        yield endpoint.port


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/favicon.ico", "/m2", "/a/../metrics", "/livez/", "//"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_other_paths_are_not_found(port: int, method: str, path: str) -> None:
    """All other paths are 404, whatever the method."""
    status, headers, body = ask(port, method, path)
    assert (status, body == b"") == (404, method == "HEAD")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_not_allowed(port: int, method: str, path: str) -> None:
    """GET and HEAD are allowed; other methods get a 405 that lists them."""
    status, headers, _ = ask(port, method, path)
    assert (status, set(headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})


@pytest.mark.parametrize("query", ["", "?name[]=first"])
def test_head_is_get_without_the_body(port: int, query: str) -> None:
    """HEAD has the headers of GET, Content-Length included, and no body."""
    got, head = ask(port, "GET", f"/metrics{query}"), ask(port, "HEAD", f"/metrics{query}")
    names = ("Content-Type", "Content-Length")
    assert (head[0], head[2]) == (200, b"")
    assert [head[1][name] for name in names] == [got[1][name] for name in names]
    assert int(got[1]["Content-Length"]) == len(got[2])


def test_pages_are_filtered_compressed_and_typed(port: int) -> None:
    """The query `name[]`, gzip and the format of OpenMetrics work as in prometheus_client."""
    assert b"second" in ask(port)[2]
    filtered = ask(port, path="/metrics?name[]=first")[2]
    assert b"first 0.0" in filtered
    assert b"second" not in filtered
    _, headers, packed = ask(port, **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == ask(port)[2]
    assert ask(port, Accept="application/openmetrics-text; version=1.0.0")[2].endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text; version=garbage", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0-a", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=" + "1" * 5000, "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=9999", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;q=0.0, text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (";;=,=;version,text/plain;q=", "text/plain; version=0.0.4; charset=utf-8"),
        (
            'application/openmetrics-text;version="1.0.0"',
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        (
            "application/openmetrics-text;version=9, application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
    ],
)
def test_formats_that_do_not_exist_are_ignored(
    port: int, accept: str, content_type: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An Accept header with unknown, invalid or excluded formats gets one that exists, and logs nothing."""
    status, headers, _ = ask(port, Accept=accept)
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["gzip;q=0", "identity, gzip; q=0.000"])
def test_gzip_can_be_excluded(port: int, encoding: str) -> None:
    """A client that excludes gzip gets the page without it."""
    assert ask(port, **{"Accept-Encoding": encoding})[1]["Content-Encoding"] is None


@pytest.mark.parametrize(
    "sent",
    [b"GET /" + b"a" * (1 << 20), b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 90 + b"B: " + b"c" * (1 << 20)],
    ids=["line", "header"],
)
def test_long_requests_are_refused(port: int, sent: bytes) -> None:
    """A request line or header without an end is rejected and not read further."""
    with connected(port) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        assert b"200" not in received(client)[:100]
    assert ask(port)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00", b"GET", b"\r\n\r\n", b"GET /metrics HTTP/9\r\n\r\n"])
def test_garbage_is_not_logged(port: int, sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """An invalid request ends its connection, and nothing is written to standard error."""
    with connected(port, sent) as client:
        client.shutdown(socket.SHUT_WR)
        received(client)
    assert ask(port)[0] == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nA: "], ids=["silent", "half-a-request"])
def test_many_connections_do_not_prevent_a_scrape(port: int, sent: bytes) -> None:
    """Connections over the limit are refused; a scrape replaces a connection that is older than a second."""
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(port, sent)) for _ in range(100)]
        most = threads + connections.MAX_CONNECTIONS
        while threading.active_count() > most:  # replaced connections end after a delay
            time.sleep(0.01)
        while ask(port)[0] == 503:
            time.sleep(0.05)
        ended = select.poll()
        for client in clients:
            ended.register(client, select.POLLIN)
        assert len(ended.poll(0)) >= 100 - connections.MAX_CONNECTIONS


def test_silent_connections_are_replaced_first() -> None:
    """A connection whose request is being answered is kept as long as others have not sent theirs."""
    began, answer = threading.Event(), asyncio.Event()

    async def app(scope: Any, _: object, send: Any) -> None:
        if scope["path"] == "/slow":
            began.set()
            await answer.wait()
        else:
            answer.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"complete"})

    with HttpServer("127.0.0.1", 0, app) as endpoint, contextlib.ExitStack() as stack:
        slow = stack.enter_context(connected(endpoint.port, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert began.wait(20)
        for _ in range(connections.MAX_CONNECTIONS - 1):
            stack.enter_context(connected(endpoint.port))
        time.sleep(connections.MIN_CONNECTION_SECONDS)
        while ask(endpoint.port, path="/")[0] == 503:
            time.sleep(0.05)
        assert b"complete" in received(slow)


def test_slow_connections_are_closed() -> None:
    """One byte at a time, in the request or in the response, does not extend the time limit of a connection."""
    registry = CollectorRegistry()
    for number in range(40):  # more than the buffers of a connection hold
        Gauge(f"gauge_{number}", "x" * 100_000, registry=registry)
    with serving(registry) as endpoint, connected(endpoint.port, b"GET /") as slow:
        reading = socket.socket()
        with reading:
            reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reading.connect(("127.0.0.1", endpoint.port))
            reading.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - began < 30:
                    slow.sendall(b"E")
                    time.sleep(0.2)
            assert 5 < time.monotonic() - began < 29
            assert len(received(reading)) < 40 * 100_000


def test_a_failing_metric_is_an_error_without_details() -> None:
    """An exception of a metric is answered with 500 and without its message."""

    class Failing(Collector):
        def collect(self) -> Iterator[object]:  # type: ignore[override]
            raise ValueError("CANARY")

        def describe(self) -> Iterator[object]:
            return iter(())

    registry = CollectorRegistry()
    registry.register(Failing())
    with serving(registry) as endpoint:
        status, _, body = ask(endpoint.port)
    assert status == 500
    assert b"CANARY" not in body


async def test_scrapers_leave_file_descriptors_for_calls() -> None:
    """With more scrapers than file descriptors, calls are always answered, and scrapes soon."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, files[1]))  # the child inherits it
    try:
        starting = contextlib.AsyncExitStack()
        server = await starting.enter_async_context(ServerProcess.running(log_format="json"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    port = int(server.metrics_urls[0].rpartition(":")[2].partition("/")[0])
    async with starting, contextlib.AsyncExitStack() as scrapers:
        for _ in range(300):
            scrapers.enter_context(connected(port, b"GET /metrics HTTP/1.1\r\n"))
        for _ in range(5):
            async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
                assert await stub.CreateEmbeddingUnary(TEXT, timeout=20).code() is grpc.StatusCode.OK
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(ask, port))[0] != 200:
                await asyncio.sleep(0.05)


async def test_no_busy_loop_without_file_descriptors() -> None:
    """While no connection can be accepted, the port waits without using the CPU, and continues afterwards."""
    async with ServerProcess.running() as server:
        port = int(server.metrics_urls[0].rpartition(":")[2].partition("/")[0])
        pid = server.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        with connected(port, b"GET /metrics HTTP/1.0\r\n\r\n") as client:
            before = _processor_seconds(pid)
            await asyncio.sleep(2)
            used = _processor_seconds(pid) - before
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert b"embedwire_build_info" in await asyncio.to_thread(received, client)
    assert used < 1


def _processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - a file of the kernel
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
