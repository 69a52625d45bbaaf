"""Each case gives the same with the drop-in through a server as with the official SDK, on the same sandbox."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.e2e.dropin.cases import AGREE, DEVIATE, Case
from tests.e2e.dropin.sides import Bench, Outcome
from tests.e2e.sandbox.official import KEY
from tests.support.media import flac, png
from tests.support.serving import serving

PAGE = (Path(__file__).parents[3] / "docs/drop-in.md").read_text()


@contextlib.asynccontextmanager
async def bench(folder: Path, url: str, options: Mapping[str, Any]) -> AsyncGenerator[Bench]:
    async with (
        Sandbox(SandboxOptions(**options)) as sandbox,
        serving(upstream=sandbox.base_url, api_key=KEY) as served,
    ):
        yield Bench(sandbox, served, folder, url)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def media_url() -> AsyncGenerator[str]:
    """Serve /picture and /sound only."""
    files = {"picture": (png(), "image/png"), "sound": (flac(7), "audio/flac")}

    async def give(request: web.Request) -> web.Response:
        content, kind = files[request.match_info["name"]]
        return web.Response(body=content, content_type=kind)

    application = web.Application()
    application.add_routes([web.get("/{name:picture|sound}", give)])
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def patient(media_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Bench]:
    """A sandbox with default options, and a server on it."""
    async with bench(tmp_path_factory.mktemp("media"), media_url, {}) as ready:
        yield ready


@contextlib.asynccontextmanager
async def suited(case: Case, patient: Bench) -> AsyncGenerator[Bench]:
    """The shared bench, or one with the options that the case needs."""
    if not case.sandbox:
        yield patient
        return
    async with bench(patient.folder, patient.url, case.sandbox) as ready:
        yield ready


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", AGREE)
async def test_agrees(patient: Bench, name: str) -> None:
    """Sync and async, each result or exception equals that of the official SDK in every value."""
    case = AGREE[name]
    async with suited(case, patient) as ready:
        expected = await ready.official(case.arguments, case.faults)
        found = await ready.drop_in(case.arguments, case.faults)

    if case.own_words:
        expected, found = [[item.without_words() for item in side] for side in (expected, found)]
        assert found[0].code
    assert expected[0] == expected[1]
    assert found == expected


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", DEVIATE)
async def test_deviates_as_listed(patient: Bench, name: str) -> None:
    """A deviation is listed in docs/drop-in.md, and both sides behave as described there."""
    case = DEVIATE[name]
    async with suited(case, patient) as ready:
        expected = await ready.official(case.arguments, case.faults)
        found = await ready.drop_in(case.arguments, case.faults)

    assert f"\n- **{case.deviation}" in PAGE
    for outcome in expected:
        assert summary(outcome) == case.official
    for outcome in found:
        assert summary(outcome) == case.ours
    assert found != expected


def test_there_are_enough_cases() -> None:
    """At least forty calls agree in every value, besides those with different messages."""
    assert sum(not case.own_words for case in AGREE.values()) >= 40


def summary(outcome: Outcome) -> tuple[str, int | None] | None:
    return (outcome.error, outcome.status) if outcome.error else None
