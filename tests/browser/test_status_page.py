"""The status page in Chromium, at phone and desktop width: empty, full, and with hostile content."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.observability.recent_calls import MAX_FAILURES
from tests.browser.chromium import Chromium, page_at
from tests.support.http import port_of
from tests.support.messages import text_input, url_input
from tests.support.process import ServerProcess
from tests.support.serving import Serve, Served
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

PHONE, DESKTOP = 390, 1280
WIDTHS = pytest.mark.parametrize("width", [PHONE, DESKTOP])
SCREENSHOTS = Path(__file__).parents[2] / "build/screenshots"
LIMITS = {
    "rate_limits_text_requests_per_minute": 600,
    "rate_limits_text_requests_per_day": 100_000,
    "rate_limits_audio_media_minutes_per_hour": 600,
}
SCRIPT = "document.documentElement.dataset.hacked=1"


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    return Chromium(tmp_path)


@contextlib.asynccontextmanager
async def full(serve: Serve, **settings: Any) -> AsyncGenerator[Served]:
    """A server whose page has as much as possible: failures of several kinds, quotas, a back-off, waiting inputs."""
    is_over = asyncio.Event()

    async def script(visit: Visit) -> None:
        found: dict[str, Any] = {"X_Trace_Id": "0af7651916cd43dd8448eb211c80319c"}
        limits: dict[str, Any] = {"X_RateLimit_Request_Limit": "600", "X_RateLimit_Request_Reset": "42"}
        if b"image" in visit.body:
            await is_over.wait()
        if b"slow down" in visit.body:
            found |= {"status": 429, "Retry_After": "1800", "X_RateLimit_Request_Remaining": "0"} | limits
            await visit.answer({"code": "too_many_requests", "message": "wait"}, **found)
        elif b"broken" in visit.body:
            await visit.answer({"code": "server_error", "message": "broken"}, status=500, **found)
        else:
            await visit.answer(reply(), X_RateLimit_Request_Remaining="573", **found, **limits)

    async with ScriptedHttpServer(script).running() as upstream:
        chosen = {"upstream": upstream.base_url, "concurrency_inputs_per_modality": 2} | LIMITS | settings
        async with serve(**chosen) as served:
            try:
                images = [asyncio.create_task(_image(served)) for _ in range(3)]
                await _calls(served)
                yield served
            finally:
                is_over.set()
                await asyncio.gather(*images)


async def _calls(served: Served) -> None:
    for number in range(200):
        await _text(served, "good", request_id=f"search-{number}")
    for number in range(MAX_FAILURES):
        model = "unknown" if number % 3 == 0 else "marengo3.0"
        await _text(served, "broken", model=model, request_id=f"index.2026-11-30:batch-{number:04}")
    await _text(served, "good", request_id="x" * 64, seconds=0.0005)
    await _text(served, "slow down", request_id="reindex-0001", seconds=1)


async def _text(
    served: Served, text: str, model: str = "marengo3.0", request_id: str = "a", seconds: float = 30
) -> None:
    request = pb.CreateEmbeddingUnaryRequest(model_name=model, inputs=[text_input(text)], max_retries=0)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await served.stub.CreateEmbeddingUnary(request, metadata=(("x-request-id", request_id),), timeout=seconds)


async def _image(served: Served) -> None:
    request = pb.CreateEmbeddingUnaryRequest(
        model_name="marengo3.0", inputs=[url_input("image", "https://example.com/a.png")], max_retries=0
    )
    with contextlib.suppress(grpc.aio.AioRpcError):
        await served.stub.CreateEmbeddingUnary(request, timeout=120)


async def _check(chromium: Chromium, port: int, width: int, name: str) -> None:
    """Check that nothing overflows and nothing is loaded; take screenshots."""
    page = await page_at(port)
    assert page.status == 200
    measured = await chromium.measure(page, width)
    assert measured.size.window == width
    assert measured.size.width == width
    assert measured.wide_tables == ""
    assert measured.paths == ["/"]
    assert "data-hacked" not in measured.dom
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for is_dark in (False, True):
        file = SCREENSHOTS / f"{name}-{width}{'-dark' if is_dark else ''}.png"
        url = f"http://127.0.0.1:{port}/?refresh=off"
        await chromium.screenshot(url, file, width, min(measured.size.height, 6000), is_dark=is_dark)
        assert file.stat().st_size > 10_000


@WIDTHS
async def test_empty(serve: Serve, chromium: Chromium, width: int) -> None:
    """The page of a new server fits and loads nothing."""
    async with serve() as served:
        await _check(chromium, port_of(served.app.metrics_url), width, "empty")


@WIDTHS
async def test_full(serve: Serve, chromium: Chromium, width: int) -> None:
    """A page with every kind of row fits and loads nothing."""
    async with full(serve) as served:
        await _check(chromium, port_of(served.app.metrics_url), width, "full")


@WIDTHS
async def test_hostile(serve: Serve, chromium: Chromium, width: int) -> None:
    """Markup, scripts and long words in names run no script, load nothing and do not overflow, without the policy."""
    names = [
        f"<script>{SCRIPT}</script>",
        f"<img src=/loaded.png onerror='{SCRIPT}'>",
        f'"><svg onload="{SCRIPT}">',
        f"</style></table><iframe srcdoc='<script>top.{SCRIPT}</script>'>",
        "{{ 7 * 7 }}{% raw %}",
        "W" * 300,
        "\u05d0\U0001f600" * 20,
    ]
    text = {"max_tokens": 77, "truncates": ["end"]}
    models = tuple({"name": name, "aliases": [f"alias {name}"], "dimensions": 4, "text": text} for name in names)
    async with full(serve, models=models) as served:
        for name in names:
            await _text(served, "broken", model=name, request_id=name.encode("ascii", "replace").decode())
        await _check(chromium, port_of(served.app.metrics_url), width, "hostile")


@WIDTHS
async def test_draining(chromium: Chromium, width: int) -> None:
    """The page of a draining server says so."""
    async with ServerProcess.running(shutdown_delay=60) as server:
        server.process.send_signal(signal.SIGTERM)
        port = port_of(server.metrics_urls[0])
        async with asyncio.timeout(30):
            while "failed: the server is draining" not in (await page_at(port)).text:
                await asyncio.sleep(0.1)
        await _check(chromium, port, width, "draining")
