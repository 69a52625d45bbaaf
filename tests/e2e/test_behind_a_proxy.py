"""Calls through an HTTP proxy, which alone can resolve the upstream's name."""

import base64
import re
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from embedwire_server.core.failure_causes import WORDS, Cause
from tests.support.forward_proxy import REFUSED, ForwardProxy
from tests.support.messages import failed, request, results, text_input
from tests.support.serving import serving
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

pytestmark = pytest.mark.asyncio

USER = "me:hunter2"


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


def port_of(upstream: ScriptedHttpServer) -> int:
    return int(upstream.base_url.rsplit(":", 1)[1])


async def test_an_http_upstream(capfd: pytest.CaptureFixture[str]) -> None:
    """Requests have absolute form and carry the credentials of the proxy, which appear in no log."""
    async with (
        ScriptedHttpServer(answer).running() as upstream,
        ForwardProxy(port_of(upstream), USER).running() as proxy,
    ):
        url = f"http://{USER}@127.0.0.1:{proxy.port}"
        async with serving(upstream="http://upstream.test:81/v1.3", upstream_proxy=url) as served:
            for _ in range(2):
                events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
                assert results(events)[0].segment_count == 1
    # The connection is reused, and this proxy reads one head of each.
    assert [visit.path for visit in upstream.visits] == ["/v1.3/embed", "http://upstream.test:81/v1.3/embed"]
    assert [visit.headers["host"] for visit in upstream.visits] == ["upstream.test:81"] * 2
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(b"POST http://upstream.test:81/v1.3/embed HTTP/1.1\r\n")
    said = "".join(capfd.readouterr())
    assert re.search(rf"serving .*proxy=127\.0\.0\.1:{proxy.port}", re.sub(r"\x1b\[[0-9;]*m", "", said))
    assert "hunter2" not in said
    assert base64.b64encode(USER.encode()).decode() not in said


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "pieces"])
async def test_an_https_upstream(tmp_path: Path, *, pieces: bool) -> None:
    """The tunnel is requested for the upstream's name and port; the proxy sees neither the key nor any content."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    upstream = ScriptedHttpServer(answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("upstream.test").configure_cert(context)
    async with (
        upstream.running(context),
        ForwardProxy(port_of(upstream), USER, pieces=pieces).running() as proxy,
    ):
        chosen: dict[str, Any] = {
            "upstream_proxy": f"http://{USER}@127.0.0.1:{proxy.port}",
            "upstream_ca": tmp_path / "ca.pem",
        }
        async with serving(upstream="https://upstream.test/v1.3", **chosen) as served:
            for _ in range(2):
                events = [event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]
                assert results(events)[0].segment_count == 1
    assert [visit.headers["host"] for visit in upstream.visits] == ["upstream.test"] * 2
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(b"CONNECT upstream.test:443 HTTP/1.1\r\n")
    assert b"api-key" not in proxy.heads[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_requires_credentials(scheme: str) -> None:
    """The failure names the cause, and the request is not retried: only the operator can correct it."""
    async with ForwardProxy(1, USER).running() as proxy:
        url = f"http://me:wrong@127.0.0.1:{proxy.port}"
        async with serving(upstream=f"{scheme}://upstream.test", upstream_proxy=url) as served:
            failure = await failure_of(served.stub)
            assert served.metric("embedwire_upstream_connection_failures_total", cause="proxy_authentication") == 1
    assert (failure.info.reason, failure.failure.cause) == ("UPSTREAM_UNAVAILABLE", "proxy_authentication")
    assert failure.message == WORDS[Cause.PROXY_AUTHENTICATION]
    assert len(proxy.heads) == 1


async def test_a_proxy_that_refuses() -> None:
    """The message has the status of the proxy, and no request counts as an attempt."""
    async with ForwardProxy(answer=REFUSED % 403).running() as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with serving(upstream="https://upstream.test", upstream_proxy=url, retry_max_attempts=1) as served:
            failure = await failure_of(served.stub)
    assert (failure.failure.cause, failure.failure.attempts) == ("proxy_refused", 0)
    assert failure.message.endswith("with status 403")


async def failure_of(stub: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.CreateEmbedding(request(text_input()), timeout=20):
            pass
    return failed(caught.value)
