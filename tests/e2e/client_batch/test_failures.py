"""Failures in a batch: temporary ones are tried again, outages are waited for, and some end the run."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embedwire import Client
from embedwire.batch import Batch, BatchOptions
from embedwire.errors import EmbedwireError
from tests.e2e.client_batch.support import MODEL, Listed, answer, failures, keys, run, text_of, texts
from tests.support.ports import NO_SERVER, held_port
from tests.support.serving import Scripted, serving
from tests.support.upstreams import ScriptedHttpServer, Visit

_OF_ALL = [f"key-{number}" for number in range(60)]
_FEW: dict[str, Any] = {"inputs_per_call": 4, "concurrent_calls": 4, "max_retries": 0}


async def test_temporary_failures_are_tried_again(scripted: Scripted, tmp_path: Path) -> None:
    """Each input of which the upstream rejects the first request with 429 or 503 is embedded."""
    asked: Counter[str] = Counter()

    async def script(visit: Visit) -> None:
        key = text_of(visit)
        asked[key] += 1
        number = int(key.removeprefix("key-"))
        if asked[key] == 1 and number % 5 == 0:
            await visit.answer({"code": "busy", "message": "later"}, 429 if number % 2 else 503)
        else:
            await answer(visit)

    async with scripted(script) as (served, _):
        summary = await run(served.app.target, texts(60), tmp_path, **_FEW)

    assert keys(tmp_path) == sorted(_OF_ALL)
    assert failures(tmp_path) == {}
    assert summary.progress.retries == 12
    assert asked.total() == 72


async def test_an_input_that_keeps_failing(scripted: Scripted, tmp_path: Path) -> None:
    """An input with max_attempts temporary failures is in the failures, and a later run tries it again."""
    fails = True

    async def script(visit: Visit) -> None:
        if fails and text_of(visit) == "key-3":
            await visit.answer({}, 503)
        else:
            await answer(visit)

    async with scripted(script) as (served, upstream):
        first = await run(served.app.target, texts(6), tmp_path, max_attempts=2, **_FEW)
        line = failures(tmp_path)["key-3"]
        fails = False
        second = await run(served.app.target, texts(6), tmp_path, **_FEW)

    assert (line["reason"], line["is_temporary"], line["attempts"]) == ("UPSTREAM_UNAVAILABLE", True, 2)
    assert (first.is_complete, first.progress.failed, first.progress.embedded) == (True, 1, 5)
    assert (second.progress.resumed, second.progress.embedded, second.progress.failed) == (5, 1, 0)
    assert failures(tmp_path) == {}
    assert len(upstream.visits) == 8


async def test_an_outage_of_the_upstream_costs_no_attempts(scripted: Scripted, tmp_path: Path) -> None:
    """While the upstream answers nothing but 503, inputs are sent one at a time, and none fails for it."""
    is_down = True

    async def script(visit: Visit) -> None:
        if is_down:
            await visit.answer({}, 503)
        else:
            await answer(visit)

    async with scripted(script) as (served, upstream):
        with Client(served.app.target) as client:
            options = BatchOptions(max_attempts=2, **_FEW)
            batch = Batch(client, MODEL, Listed(texts(60)), tmp_path, options)
            running = asyncio.create_task(asyncio.to_thread(batch.run))
            while len(upstream.visits) < 16 + 2:  # two tests after those that were in flight
                await asyncio.sleep(0.02)
            is_down = False
            assert len(upstream.visits) < 30
            summary = await running

    assert keys(tmp_path) == sorted(_OF_ALL)
    assert summary.progress.failed == 0


async def test_an_outage_that_lasts_ends_the_run(scripted: Scripted, tmp_path: Path) -> None:
    """After outage_timeout without a success the run ends with the failure, and no input counts as failed."""
    is_down = True

    async def script(visit: Visit) -> None:
        if is_down:
            await visit.answer({}, 503)
        else:
            await answer(visit)

    async with scripted(script) as (served, _):
        summary = await run(served.app.target, texts(60), tmp_path, outage_timeout=1, **_FEW)
        assert summary.error is not None
        assert summary.error.reason == "UPSTREAM_UNAVAILABLE"
        assert (summary.is_complete, summary.progress.failed, summary.parts) == (False, 0, 0)
        assert failures(tmp_path) == {}
        is_down = False
        assert (await run(served.app.target, texts(60), tmp_path, **_FEW)).is_complete
    assert keys(tmp_path) == sorted(_OF_ALL)


async def test_credentials_that_become_invalid_end_the_run(scripted: Scripted, tmp_path: Path) -> None:
    """If the upstream rejects the key in the middle, the run ends, nothing counts as failed, and it can be resumed."""
    is_valid = True

    async def script(visit: Visit) -> None:
        nonlocal is_valid
        is_valid = is_valid and len(upstream.visits) <= 30
        if is_valid:
            await answer(visit)
        else:
            await visit.answer({"code": "api_key_invalid", "message": "invalid"}, 401)

    async with scripted(script) as (served, upstream):
        summary = await run(served.app.target, texts(200), tmp_path, **_FEW)
        paid = len(keys(tmp_path))
        assert summary.error is not None
        assert summary.error.reason == "UPSTREAM_CREDENTIALS"
        assert (summary.is_complete, summary.progress.failed, paid) == (False, 0, 30)
        assert len(upstream.visits) <= 30 + 2 * 16
        upstream.script, before = answer, len(upstream.visits)
        assert (await run(served.app.target, texts(200), tmp_path, **_FEW)).is_complete
    assert len(upstream.visits) - before == 170
    assert len(keys(tmp_path)) == 200


async def test_a_restart_of_the_server(tmp_path: Path) -> None:
    """While the server is down nothing fails; the run continues when it serves again."""

    async def script(visit: Visit) -> None:
        await asyncio.sleep(0.02)
        await answer(visit)

    async with ScriptedHttpServer(script).running() as upstream:
        with held_port() as port, Client(f"127.0.0.1:{port}") as client:
            where = {"listen": f"127.0.0.1:{port}", "upstream": upstream.base_url}
            batch = Batch(client, MODEL, Listed(texts(300)), tmp_path, BatchOptions(**_FEW))
            async with serving(**where):
                running = asyncio.create_task(asyncio.to_thread(batch.run))
                while batch.progress.embedded < 50:
                    await asyncio.sleep(0.01)
            while not batch.progress.waiting:
                await asyncio.sleep(0.01)
            async with serving(**where):
                summary = await running

    assert summary.is_complete
    assert (summary.progress.embedded, summary.progress.failed) == (300, 0)
    assert len(keys(tmp_path)) == len(set(keys(tmp_path))) == 300
    assert len(upstream.visits) <= 300 + 16


async def test_no_server(tmp_path: Path) -> None:
    """A run without a server fails before it reads an input, and creates no output."""
    source = Listed(texts(3))
    with Client(NO_SERVER) as client, pytest.raises(EmbedwireError):
        await asyncio.to_thread(Batch(client, MODEL, source, tmp_path / "out").run)
    assert source.read == 0
    assert not (tmp_path / "out").exists()
