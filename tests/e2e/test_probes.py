"""`/livez` and `/readyz` of real servers: ready, not ready, draining, without a resource, with a blocked event loop."""

import asyncio
import contextlib
import re
import signal
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from embedwire_server.observability.heartbeat import Heartbeat
from embedwire_server.observability.http.routes import application
from embedwire_server.observability.http.server import HttpServer
from embedwire_server.observability.readiness import Check, Readiness
from tests.support.http import Answer, ask, connected, port_of
from tests.support.process import ServerProcess
from tests.support.serving import Serve, Served

READY = "[+]grpc ok\n[+]resources ok\n[+]accept-loops ok\n[+]drain ok\nreadyz check passed\n"


async def probe(port: int, path: str = "/readyz") -> Answer:
    return await asyncio.to_thread(ask, port, "GET", path)


async def becomes(port: int, status: int, path: str = "/readyz") -> Answer:
    async with asyncio.timeout(30):
        while (answer := await probe(port, path)).status != status:
            await asyncio.sleep(0.02)
    return answer


async def test_a_server_that_is_ready(served: Served) -> None:
    """Both probes succeed, and the text lists the checks."""
    port = port_of(served.app.metrics_url)
    alive, ready = await probe(port, "/livez"), await probe(port)
    assert (alive.status, alive.text) == (200, "ok\n")
    assert (ready.status, ready.text) == (200, READY)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_head_and_headers(served: Served, path: str) -> None:
    """HEAD has the headers of GET and no body; no cache stores a probe."""
    port = port_of(served.app.metrics_url)
    got, head = await probe(port, path), await asyncio.to_thread(ask, port, "HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    assert _without_date(head) == _without_date(got)
    assert got.headers["Cache-Control"] == "no-store"
    assert got.headers["Content-Type"].startswith("text/plain")
    assert int(got.headers["Content-Length"]) == len(got.body)


def _without_date(answer: Answer) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.items() if name != "date"]


def test_before_the_start() -> None:
    """Until the gRPC server has started, the server is alive and not ready."""
    readiness = Readiness()
    app = application(CollectorRegistry(), readiness, Heartbeat(), 30)
    with HttpServer("127.0.0.1", 0, app) as server:
        assert ask(server.port, path="/livez").status == 200
        before = ask(server.port, path="/readyz")
        assert before.status == 503
        assert before.text.startswith("[-]grpc failed: the gRPC server has not started\n[+]resources ok\n")
        assert before.text.endswith("readyz check failed\n")
        readiness.succeed(Check.GRPC)
        assert ask(server.port, path="/readyz").status == 200


async def test_during_the_drain() -> None:
    """From SIGTERM on the server is not ready; the port answers until the process has ended."""
    async with ServerProcess.running(shutdown_delay=8, shutdown_grace_period=10) as server:
        port = port_of(server.metrics_urls[0])
        assert (await probe(port)).status == 200
        server.process.send_signal(signal.SIGTERM)
        answer = await becomes(port, 503)
        assert "[-]drain failed: the server is draining\n" in answer.text
        assert "[+]grpc ok\n" in answer.text
        assert (await probe(port, "/livez")).status == 200
        assert (await probe(port, "/metrics")).status == 200
        assert await server.ended(40) == 0


async def test_without_a_resource(serve: Serve, tmp_path: Path) -> None:
    """While the spool directory is missing, `/readyz` names the cause, and `/livez` succeeds."""
    (spool := tmp_path / "spool").mkdir()
    async with serve(uploads_spool_dir=spool) as served:
        port = port_of(served.app.metrics_url)
        await becomes(port, 200)
        spool.rmdir()
        assert "[-]resources failed: spool_unavailable\n" in (await becomes(port, 503)).text
        assert (await probe(port, "/livez")).status == 200
        spool.mkdir()
        assert (await becomes(port, 200)).text == READY


async def test_a_blocked_event_loop(serve: Serve) -> None:
    """Once the event loop has not run for `workers.timeout`, `/livez` fails; it succeeds when the loop runs again."""
    async with serve(workers_timeout=1) as served:
        port = port_of(served.app.metrics_url)
        assert (await probe(port, "/livez")).status == 200
        found: list[Answer] = []
        has_failed = threading.Event()
        asking = threading.Thread(target=_ask_until_failure, args=(port, found, has_failed))
        asking.start()
        assert has_failed.wait(60)
        asking.join()
        assert found[-1].text.startswith("failed: the main event loop has not run for ")
        assert (await becomes(port, 200, "/livez")).text == "ok\n"


def _ask_until_failure(port: int, found: list[Answer], has_failed: threading.Event) -> None:
    while not found or found[-1].status != 503:
        found.append(ask(port, path="/livez"))
    has_failed.set()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /livez HTTP/1.1\r\nA: ", b"GET /metrics HTTP/1.1\r\n\r\n"], ids=["silent", "half", "unread"]
)
async def test_slow_clients_do_not_prevent_probes(served: Served, sent: bytes) -> None:
    """With more idle connections than allowed, probes succeed as soon as one of those is older than a second."""
    port = port_of(served.app.metrics_url)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connected(port, sent))
        for path in ("/livez", "/readyz", "/livez", "/readyz"):
            await becomes(port, 200, path)


async def test_each_worker_has_its_own_probes() -> None:
    """With two workers, each port has both probes; they and the page show whether the workers share the quota."""
    async with ServerProcess.running(workers=2) as server:
        for url in server.metrics_urls:
            text = (await becomes(port_of(url), 200)).text
            assert re.sub(r"^quota: (shared|divided among 2 servers) since .*\n", "", text, flags=re.MULTILINE) == READY
            assert text.count("\nquota: ") == 1
            page = (await probe(port_of(url), "/")).text
            assert re.search(r'<th scope="row">quota</th><td>(shared|divided among 2 servers) since ', page)
            assert (await probe(port_of(url), "/livez")).status == 200
        assert len(server.metrics_urls) == 2
