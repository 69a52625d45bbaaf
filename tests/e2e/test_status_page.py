"""The status page of real servers: what it shows, what it never shows, and that nothing depends on it."""

import asyncio
import contextlib
import html
import re
import subprocess
import sys
import threading
from typing import Any

import grpc
import httpx
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.observability.recent_calls import MAX_FAILURES
from tests.support.http import Answer, ask, port_of
from tests.support.messages import text_input
from tests.support.pki import bearer, sha256
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Serve, Served
from tests.support.upstreams import Visit, answer, reply

CANARY = "CANARY"
MARKUP = "<script>document.title='changed'</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"
TEXT = {"max_tokens": 77, "truncates": ["end"]}


async def page(served: Served, path: str = "/", method: str = "GET") -> Answer:
    return await asyncio.to_thread(ask, port_of(served.app.metrics_url), method, path)


def text_of(found: Answer) -> str:
    """The text of a page, with single spaces."""
    without_style = re.sub(r"<style>.*?</style>", "", found.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", without_style)).split())


async def shown(served: Served, pattern: str) -> str:
    """The text of the page as soon as it matches: a page is up to a second old, and a call counts after its end."""
    async with asyncio.timeout(30):
        while not re.search(pattern, text := text_of(await page(served))):
            await asyncio.sleep(0.2)
    return text


async def embed(served: Served, model: str = "marengo3.0", text: str = "a", **metadata: str) -> None:
    request = pb.CreateEmbeddingUnaryRequest(model_name=model, inputs=[text_input(text)], max_retries=0)
    pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
    with contextlib.suppress(grpc.aio.AioRpcError):
        await served.stub.CreateEmbeddingUnary(request, metadata=pairs, timeout=30)


async def test_a_server_without_calls(served: Served) -> None:
    """The page of a new server shows its upstream, models, readiness and empty tables."""
    text = await shown(served, "Upstream sandbox")
    assert "Embedwire ready" in text
    assert "marengo3.5 \N{EN DASH} text, image, audio 512 v2 available" in text
    assert "No call has ended in the last 15 minutes." in text
    assert "No limit is configured, and the upstream has reported none." in text
    assert "No call has failed." in text


async def test_calls_and_failures(scripted: Scripted) -> None:
    """Calls are counted by reason, and a failure has its request id, reason, status and upstream trace id."""

    async def script(visit: Visit) -> None:
        is_good = b"good" in visit.body
        body = reply() if is_good else {"code": "server_error", "message": CANARY}
        await visit.answer(body, 200 if is_good else 500, X_Trace_Id="trace-1")

    async with scripted(script) as (served, _):
        for _ in range(3):
            await embed(served, text="good")
        await embed(served, x_request_id="order-7")
        text = await shown(served, "OK 3 3 3 UPSTREAM_UNAVAILABLE 1 1 1")
    assert re.search(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d order-7 UPSTREAM_UNAVAILABLE UNAVAILABLE CreateEmbeddingUnary marengo3.0"
        r" \d\.\d\d s trace-1",
        text,
    ), text


async def test_quota(scripted: Scripted) -> None:
    """Configured limits and those of the upstream's headers show what remains and when it resets."""

    async def script(visit: Visit) -> None:
        await visit.answer(
            reply(),
            X_RateLimit_Request_Limit="60",
            X_RateLimit_Request_Remaining="41",
            X_RateLimit_Request_Reset="3000",
        )

    async with scripted(script, rate_limits_text_requests_per_day=1000) as (served, _):
        await embed(served)
        text = await shown(served, "text text requests per day configured 999 of 1,000 in (1 d|23 h)")
    assert re.search(r"text x-ratelimit-request upstream \(\d\.\d\d s ago\) 41 of 60 in (50|49) min", text), text


async def test_inputs_in_progress(scripted: Scripted) -> None:
    """Inputs in progress, and those that wait for a slot, are shown by modality."""
    may_answer = asyncio.Event()

    async def script(visit: Visit) -> None:
        await may_answer.wait()
        await visit.answer(reply())

    async with scripted(script, concurrency_inputs_per_modality=1, concurrency_queue_per_modality=9) as (served, up):
        calls = [asyncio.create_task(embed(served)) for _ in range(3)]
        await shown(served, "text 3 2 0 1 10")
        assert len(up.visits) == 1
        may_answer.set()
        await asyncio.gather(*calls)


async def test_no_secrets_and_no_content(serve: Serve) -> None:
    """Keys, tokens, hashes, texts, unknown model names, invalid request ids, paths of URLs: none of them is shown."""
    tokens = ({"name": "search", "sha256": sha256("CANARY-token")},)
    base = {"upstream": f"http://{NO_SERVER}/CANARY-path", "tokens": tokens, "auth_allow_caller_api_keys": True}
    async with serve(api_key="CANARY-key", **base) as served:
        identified: dict[str, Any] = dict(bearer("CANARY-token"))
        await embed(served, text=CANARY, **identified)
        await embed(served, text=CANARY, x_upstream_api_key="CANARY-callers-key", **identified)
        await embed(served, model=CANARY, **identified)
        await embed(served, x_request_id="CANARY id", **identified)
        await embed(served, authorization="Bearer CANARY-wrong")
        text = await shown(served, "(?=.*UPSTREAM_UNAVAILABLE 3 3 3)(?=.*UNAUTHENTICATED 1 1 1)")
        found = await page(served)
    assert f"custom at {NO_SERVER.rpartition(':')[0]}" in text
    assert CANARY not in found.text
    assert sha256("CANARY-token")[:16] not in found.text


async def test_hostile_names_are_escaped(serve: Serve) -> None:
    """Markup in a model name and its alias is text."""
    models = ({"name": MARKUP, "aliases": [f"alias-{MARKUP}"], "dimensions": 4, "text": TEXT},)
    async with serve(models=models, upstream=f"http://{NO_SERVER}") as served:
        await embed(served, model=MARKUP, x_request_id=MARKUP)
        await shown(served, "UPSTREAM_UNAVAILABLE 1 1 1")
        found = await page(served)
    assert MARKUP in html.unescape(found.text)
    assert "<script" not in found.text
    assert "<img" not in found.text
    assert "49" not in text_of(found).partition("alias-")[2][:120]


async def test_headers(served: Served) -> None:
    """No script, frame, cache or other site can use the page; HEAD has the same headers."""
    got, head = await page(served), await page(served, method="HEAD")
    policy = got.headers["Content-Security-Policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        policy,
    )
    assert got.headers["Referrer-Policy"] == "no-referrer"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Cache-Control"] == "no-store"
    assert (head.status, head.body, head.headers["Content-Security-Policy"]) == (200, b"", policy)
    assert (await page(served, method="POST")).status == 405


async def test_it_refreshes_unless_that_is_paused(served: Served) -> None:
    """The page loads itself again every 10 s; the query `refresh=off` stops that."""
    assert '<meta http-equiv="refresh" content="10">' in (await page(served)).text
    assert "http-equiv" not in (await page(served, "/?refresh=off")).text


async def test_it_can_be_switched_off(serve: Serve) -> None:
    """With `metrics.status_page = false` there is no page; metrics and probes are served."""
    async with serve(metrics_status_page=False) as served:
        assert (await page(served)).status == 404
        assert (await page(served, "/metrics")).status == 200
        assert (await page(served, "/readyz")).status == 200


async def test_the_number_of_failures_is_limited(scripted: Scripted) -> None:
    """The latest failures are shown, the newest first, and no others."""
    async with scripted(answer) as (served, _):
        for number in range(MAX_FAILURES + 3):
            await embed(served, model="unknown", x_request_id=f"id-{number:03}")
        await shown(served, f"id-{MAX_FAILURES + 2:03}")
        ids = re.findall(r"<code>(id-\d+)</code>", (await page(served)).text)
    assert ids == [f"id-{number:03}" for number in range(MAX_FAILURES + 2, 2, -1)]


async def test_during_a_blocked_event_loop(served: Served) -> None:
    """While the event loop is blocked, the page is answered with the last status, the checks, and a warning."""
    await shown(served, "Upstream sandbox")
    found: list[str] = []
    is_warned = threading.Event()
    asking = threading.Thread(target=_ask_until_warned, args=(port_of(served.app.metrics_url), found, is_warned))
    asking.start()
    assert is_warned.wait(60)
    asking.join()
    assert "marengo3.5" in found[-1]
    async with asyncio.timeout(30):
        while "too busy" in text_of(await page(served)):
            await asyncio.sleep(0.1)


def _ask_until_warned(port: int, found: list[str], is_warned: threading.Event) -> None:
    while not found or "The main event loop is too busy" not in found[-1]:
        found.append(ask(port, path="/").text)
    is_warned.set()


async def test_many_readers(served: Served) -> None:
    """Many readers get the page, and the event loop continues to answer calls."""
    url = served.app.metrics_url.removesuffix("metrics")
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=8), trust_env=False) as client:
        answers = await asyncio.gather(*(client.get(url, timeout=60) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    await embed(served)
    await shown(served, "OK 1 1 1")


@pytest.mark.parametrize("module", ["jinja2", "markupsafe"])
def test_it_costs_nothing_before_its_first_request(module: str) -> None:
    """The template engine is not imported with the server."""
    program = f"import sys, embedwire_server.app; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
