"""Each reloadable setting changes the behaviour of a running server."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.config.fields import Group
from embedwire_server.config.reload import merge_reloadable
from embedwire_server.config.setting_table import RELOADABLE, changed
from embedwire_server.config.validation import check
from embedwire_server.core.models import Model, TextRules
from tests.support.messages import failed, text_input
from tests.support.serving import Scripted, Serve, Served
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

UPSTREAM_DOWN = {"code": "internal", "message": "later"}


class Script:
    """An upstream that answers, fails, or delays its answers; counts how many are pending at a time."""

    def __init__(self) -> None:
        self.status = 200
        self.is_held = False
        self.held = self.most = 0
        self.released = asyncio.Event()

    async def __call__(self, visit: Visit) -> None:
        self.held += 1
        self.most = max(self.most, self.held)
        await visit.pause(0.02)  # long enough for concurrent requests to arrive
        if self.is_held:
            await self.released.wait()
        self.held -= 1
        await visit.answer(reply() if self.status == 200 else UPSTREAM_DOWN, self.status)


class Bench:
    """A server before and after a reload."""

    def __init__(self, served: Served, upstream: ScriptedHttpServer, script: Script) -> None:
        self.served, self.upstream, self.script = served, upstream, script

    def reload(self, **changes: Any) -> None:
        before = self.served.settings
        after, fixed = merge_reloadable(before, check(changed(before, changes)))
        assert not fixed
        self.served.app.reload(after)
        self.served.settings = after

    async def call(self, *texts: str, **more: Any) -> str:
        """The outcome of a call: its reason, or OK."""
        inputs = [text_input(text) for text in texts or ("a red fox",)]
        message = pb.CreateEmbeddingUnaryRequest(model_name=more.pop("model", "marengo3.0"), inputs=inputs)
        try:
            await self.served.stub.CreateEmbeddingUnary(message, timeout=5, **more)
        except grpc.aio.AioRpcError as error:
            return str(failed(error).info.reason)
        return "OK"


@pytest.fixture
async def bench(scripted: Scripted) -> AsyncGenerator[Bench]:
    script = Script()
    async with scripted(script) as (served, upstream):
        yield Bench(served, upstream, script)
        script.released.set()


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        pytest.param({"request_limits_inputs": 1}, ["a", "b"], id="request_limits_inputs"),
        pytest.param({"request_limits_text_bytes": 3}, ["abcd"], id="request_limits_text_bytes"),
    ],
)
async def test_limits_of_requests(bench: Bench, changes: dict[str, Any], texts: list[str]) -> None:
    """A changed limit on requests applies to the next one."""
    assert await bench.call(*texts) == "OK"
    bench.reload(**changes)
    assert await bench.call(*texts) == "INVALID_REQUEST"


async def test_models(bench: Bench) -> None:
    """A model of the new configuration can be used, and is listed."""
    assert await bench.call(model="mine") == "INVALID_REQUEST"
    bench.reload(models=(Model("mine", 512, text=TextRules(10, ())),))
    assert await bench.call(model="mine") == "OK"
    listed = await bench.served.stub.ListModels(pb.ListModelsRequest())
    assert [model.name for model in listed.models][-1] == "mine"


async def test_upstream_keys(bench: Bench) -> None:
    """Callers' own keys are accepted after the reload."""
    key = [("x-upstream-api-key", "tlk_mine")]
    assert await bench.call(metadata=key) == "INVALID_REQUEST"
    bench.reload(auth_allow_caller_api_keys=True)
    assert await bench.call(metadata=key) == "OK"
    assert bench.upstream.visits[-1].headers["x-api-key"] == "tlk_mine"


async def test_api_version(bench: Bench) -> None:
    """The next request has the version of the API of the new configuration."""
    assert await bench.call() == "OK"
    bench.reload(upstream_api_version="v2")
    await bench.call()
    paths = [visit.path for visit in bench.upstream.visits if visit.path.startswith("/embed")]
    assert paths[0] == "/embed"
    assert set(paths[1:]) == {"/embed-v2"}


async def test_rate_limits(bench: Bench) -> None:
    """A new limit applies after the reload."""
    assert await bench.call() == "OK"
    bench.reload(rate_limits_text_requests_per_day=1)
    assert [await bench.call(), await bench.call()] == ["OK", "RATE_LIMITED"]
    bench.reload(rate_limits_text_requests_per_day=None)
    assert await bench.call() == "OK"


@pytest.mark.parametrize("changes", [{"retry_max_attempts": 1}, {"retry_budget_ratio": 0}], ids=["attempts", "budget"])
async def test_retries(bench: Bench, changes: dict[str, Any]) -> None:
    """Attempts are no longer retried after the reload."""
    bench.script.status = 503
    bench.reload(retry_max_attempts=2)
    await bench.call()
    assert len(bench.upstream.visits) == 2
    bench.reload(**changes)
    await bench.call()
    assert len(bench.upstream.visits) == 3


async def test_inputs_per_call(bench: Bench) -> None:
    """The inputs of a call run one after the other after the reload, no longer concurrently."""
    assert await bench.call(*"abcd") == "OK"
    assert bench.script.most > 1
    bench.script.most = 0
    bench.reload(concurrency_inputs_per_call=1)
    assert await bench.call(*"abcd") == "OK"
    assert bench.script.most == 1


async def test_concurrency_limits(bench: Bench) -> None:
    """Inputs over the new limit are rejected; running ones continue."""
    bench.script.is_held = True
    bench.reload(concurrency_inputs_per_modality=2, concurrency_queue_per_modality=0)
    running = [asyncio.create_task(bench.call(metadata=[("x-request-id", str(index))])) for index in range(2)]
    async with asyncio.timeout(30):
        while bench.script.held < 2:
            await asyncio.sleep(0.01)
    assert await bench.call() == "OVERLOADED"
    bench.script.released.set()
    assert await asyncio.gather(*running) == ["OK", "OK"]


async def test_content_in_memory(bench: Bench) -> None:
    """Content over the new memory limit is rejected."""
    bench.script.is_held = True
    running = asyncio.create_task(bench.call("a" * 1000))
    async with asyncio.timeout(30):
        while not bench.script.held:
            await asyncio.sleep(0.01)
    bench.served.app.reload(changed(bench.served.settings, {"concurrency_max_buffered_bytes": 1500}))
    assert await bench.call("b" * 400) == "OVERLOADED"
    bench.script.released.set()
    assert await running == "OK"


async def test_cached_results(scripted: Scripted) -> None:
    """A cache that is too small for a result evicts it; after the next reload, results are cached again."""
    script = Script()
    async with scripted(script, cache_store="memory") as (served, upstream):
        bench, visits = Bench(served, upstream, script), []
        for size in (1 << 20, 1, 1 << 20):
            bench.reload(cache_max_bytes=size)
            await bench.call()
            await bench.call()
            visits.append(len(upstream.visits))
    assert visits == [1, 3, 4]


class Recorded:
    """Settings that record which of them are read."""

    def __init__(self, value: Any, path: str, read: set[str]) -> None:
        self._value, self._path, self._read = value, path, read

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}.{name}".lstrip(".")
        found = getattr(self._value, name)
        if isinstance(found, Group):
            return Recorded(found, path, self._read)
        self._read.add(path)
        return found

    def __iter__(self) -> Any:
        for name in type(self._value).model_fields:
            yield name, getattr(self, name)

    @property
    def model_table(self) -> Any:
        return type(self._value).model_table.fget(self)

    @property
    def limits(self) -> Any:
        return type(self._value).limits.fget(self)


async def test_every_reloadable_setting_reaches_a_component(serve: Serve) -> None:
    """Each setting that is marked as reloadable is read by a component when the settings change."""
    read: set[str] = set()
    async with serve(cache_store="memory") as served:
        app, settings = served.app, served.settings
        app.reload(Recorded(settings, "", read))  # type: ignore[arg-type] # it stands in for settings
        app.reload(settings)
    assert {setting.key for setting in RELOADABLE} <= read
