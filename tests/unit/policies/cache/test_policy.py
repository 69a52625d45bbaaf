"""The cache policy with a scripted upstream."""

import asyncio
import dataclasses
from typing import Any

import pytest

from embedwire_server.core.errors import CallerStalled, GatewayError
from embedwire_server.core.inputs import FileSource, ImageInput, TextInput, UrlSource
from embedwire_server.core.results import CacheStatus, ReplySummary, Segment
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.policies.cache import policy
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.policies.cache.policy import CachePolicy
from embedwire_server.testing import Attempt, Script, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import embedded, refusal, undecided
from tests.unit.policies.cache.support import KEYS, call_of, store, vector

FULL = Segment(vector(0.1), 0.5, 6.5, "audio", "clip", vector(0.2))
SUMMARY = ReplySummary("m", None, "their.wav", truncated=True, media_duration_sec=6.0, input_tokens={"audio": 7})


class Bench:
    """A cache around a scripted upstream."""

    def __init__(self, script: Script = Attempt.succeed, keys: ResultKeys = KEYS) -> None:
        self.upstream = ScriptedUpstream(script, "fake")
        self.store = store()
        self.policy = CachePolicy(self.upstream, keys, self.store)

    async def status(self, call: EmbedCall | None = None) -> CacheStatus | None:
        """Embed a text, and return the cache status."""
        call = call or text()
        await embedded(self.policy, call)
        return call.cache_status


def text(value: str = "a red fox") -> EmbedCall:
    return call_of(TextInput("k", value))


def image(name: str) -> EmbedCall:
    return call_of(ImageInput("k", FileSource(InMemoryContent(b"x"), name, "image/png")))


async def test_a_hit_is_exact() -> None:
    """A hit has the same bytes, offsets, options and summary, the upstream's name, and no attempt."""
    bench = Bench(lambda attempt: attempt.succeed([FULL], [FULL, Segment(vector(3))], summary=SUMMARY))
    first, second = image("first.png"), image("second.png")
    found, again = await embedded(bench.policy, first), await embedded(bench.policy, second)
    assert [segment for batch in again.batches for segment in batch] == [FULL, FULL, Segment(vector(3))]
    assert found.summary == SUMMARY
    assert again.summary == dataclasses.replace(SUMMARY, input_filename="second.png")
    assert (second.cache_status, second.attempts, second.upstream) == (CacheStatus.HIT, 0, "fake")
    assert first.cache_status is CacheStatus.MISS
    assert len(bench.upstream.attempts) == 1


async def test_a_url_is_that_of_the_call() -> None:
    """The URL of a hit is that of its input, not what the upstream has reported for another."""
    summary = ReplySummary("m", "http://redirected.test")
    keys = ResultKeys("http://upstream.test", None, has_urls=True)
    bench = Bench(lambda attempt: attempt.succeed(summary=summary), keys)
    item = ImageInput("k", UrlSource("http://a.test"))
    assert (await embedded(bench.policy, call_of(item))).summary.input_url == "http://redirected.test"
    assert (await embedded(bench.policy, call_of(item))).summary.input_url == "http://a.test"


async def test_callers_cannot_change_what_is_stored() -> None:
    """Changes of emitted segments and of summaries do not reach later callers."""
    bench = Bench(lambda attempt: attempt.succeed([dataclasses.replace(FULL)], summary=dataclasses.replace(SUMMARY)))
    for _ in range(3):
        found = await embedded(bench.policy, image("a.png"))
        assert found.batches == [[FULL]]
        assert found.summary.input_tokens == {"audio": 7}
        found.batches[0][0].vector = b""
        found.batches[0].clear()
        found.summary.input_tokens["audio"] = 8
        found.summary.model_name = "changed"


@pytest.mark.parametrize(
    "error", [refusal(503), GatewayError("no"), ValueError()], ids=["refusal", "gateway", "unexpected"]
)
async def test_failures_are_not_stored(error: Exception) -> None:
    """A failure is raised unchanged and not stored, also after segments were emitted."""

    async def script(attempt: Attempt) -> None:
        await attempt.emit([FULL])
        attempt.fail(error)

    bench = Bench(script)
    with pytest.raises(type(error)) as caught:
        await bench.status()
    assert caught.value is error
    bench.upstream.script = Attempt.succeed
    assert await bench.status() is CacheStatus.MISS
    assert await bench.status() is CacheStatus.HIT


async def test_exception_of_emit() -> None:
    """A result whose `emit` raised is not stored, and the exception is raised unchanged; also for a hit."""
    bench, error = Bench(), CallerStalled(1)

    async def emit(_: list[Segment]) -> None:
        raise error

    for status in (CacheStatus.MISS, CacheStatus.HIT):
        with pytest.raises(CallerStalled) as caught:
            await bench.policy.embed(text(), emit)
        assert caught.value is error
        assert await bench.status() is status


async def test_cancelled() -> None:
    """A result whose call was cancelled is not stored."""
    bench = Bench(undecided)
    running = asyncio.create_task(bench.status())
    while not bench.upstream.attempts:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    bench.upstream.script = Attempt.succeed
    assert await bench.status() is CacheStatus.MISS


async def test_coalesced_results_are_not_stored() -> None:
    """A result that an inner policy has coalesced keeps that status, and is not stored again."""

    def script(attempt: Attempt) -> None:
        attempt.call.cache_status = CacheStatus.COALESCED
        attempt.succeed()

    bench = Bench(script)
    assert [await bench.status() for _ in range(2)] == [CacheStatus.COALESCED] * 2


async def test_large_results_are_not_stored() -> None:
    """A result over the maximum size is passed on and not stored; one of that size is."""
    size = policy.MAX_ENTRY_BYTES // 4
    bench = Bench()
    bench.policy = CachePolicy(bench.upstream, KEYS, store(2 * policy.MAX_ENTRY_BYTES))
    for last, status in ((size, CacheStatus.HIT), (size + 1, CacheStatus.MISS)):
        batches = [[Segment(bytes(each))] for each in (size, size, size, last)]

        def script(attempt: Attempt, batches: list[list[Segment]] = batches) -> None:
            attempt.succeed(*batches)

        bench.upstream.script = script
        await bench.status(text(str(last)))
        call = text(str(last))
        found = await embedded(bench.policy, call)
        assert [len(segment.vector) for batch in found.batches for segment in batch] == [size, size, size, last]
        assert call.cache_status is status


async def test_inputs_without_a_key() -> None:
    """An input that must not be reused is passed on, without a status."""
    bench = Bench()
    found = [await bench.status(call_of(ImageInput("k", UrlSource("http://a.test")))) for _ in range(2)]
    assert found == [None, None]
    assert len(bench.upstream.attempts) == 2


async def test_a_hit_does_not_suspend() -> None:
    """A hit of a text needs no iteration of the event loop."""
    bench = Bench()
    await bench.status()

    async def emit(_: list[Segment]) -> None:
        pass

    running: Any = bench.policy.embed(text(), emit)
    with pytest.raises(StopIteration):
        running.send(None)
