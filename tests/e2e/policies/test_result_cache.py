"""The result cache, end to end: a result that was computed before is returned without an upstream request."""

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, file_input, request, results, segments, text_input, url_input
from tests.support.pki import bearer, sha256
from tests.support.serving import Scripted, Served, settings_of
from tests.support.upstreams import Visit, reply

HIT, MISS, UNSET = pb.CACHE_STATUS_HIT, pb.CACHE_STATUS_MISS, pb.CACHE_STATUS_UNSPECIFIED


class Counting:
    """An upstream whose vectors differ with each request."""

    def __init__(self) -> None:
        self.status = 200
        self.count = 0

    async def __call__(self, visit: Visit) -> None:
        if self.status != 200:
            await visit.answer({"code": "internal", "message": "later"}, self.status)
            return
        self.count += 1
        kind = next((kind for kind in ("image", "audio") if f"{kind}_".encode() in visit.body), "text")
        found = reply(f"{kind}_embedding", metadata={"input_filename": "of the upstream", "input_url": "http://u.test"})
        for segment in found[f"{kind}_embedding"]["segments"]:
            segment["float"] = [self.count / 7] * 512
        await visit.answer(found)


async def embed(
    served: Served, *inputs: pb.Input, token: str = "", key: str = ""
) -> tuple[list[pb.CreateEmbeddingResponse], str]:
    """Return the responses of a call, and its trailer about the cache."""
    metadata = [*bearer(token)] if token else []
    metadata += [("x-upstream-api-key", key)] if key else []
    call = served.stub.CreateEmbedding(request(*inputs), timeout=20, metadata=metadata)
    responses = [response async for response in call]
    return responses, str(dict(await call.trailing_metadata()).get("embedwire-cache", ""))


async def test_hit(scripted: Scripted) -> None:
    """A repeated text has the same vector, the status HIT and no attempt; trailer and metric count it."""
    async with scripted(Counting(), cache_store="memory") as (served, upstream):
        first, missed = await embed(served, text_input("a", key="1"))
        second, hit = await embed(served, text_input("a", key="2"))
        both, mixed = await embed(served, text_input("a"), text_input("b"))
        found = results(second)[0]
        assert [segment.vector for segment in segments(first)] == [segment.vector for segment in segments(second)]
        assert (found.cache_status, found.attempts, found.upstream, found.input_key) == (HIT, 0, "custom", "2")
        assert found.model_name == results(first)[0].model_name == "marengo3.0"
        assert results(first)[0].cache_status == MISS
        assert [results(both)[index].cache_status for index in (0, 1)] == [HIT, MISS]
        assert (missed, hit, mixed) == ("miss=1", "hit=1", "hit=1, miss=1")
        assert len(upstream.visits) == 2
        count = [served.metric("embedwire_cache_inputs_total", modality="text", status=s) for s in ("hit", "miss")]
        assert count == [2, 2]
        assert served.metric("embedwire_cache_entries") == 2
        assert served.metric("embedwire_cache_bytes") > 2 * 2048


async def test_unary(scripted: Scripted) -> None:
    """A unary call returns the cached result and the status."""
    asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input("a")])
    async with scripted(Counting(), cache_store="memory") as (served, upstream):
        first, second = [(await served.stub.CreateEmbeddingUnary(asked, timeout=20)).embeddings[0] for _ in range(2)]
    assert [first.result.cache_status, second.result.cache_status] == [MISS, HIT]
    assert first.segments == second.segments
    assert len(upstream.visits) == 1


async def test_off_by_default(scripted: Scripted) -> None:
    """Without the setting, each input has an upstream request, no status and no trailer."""
    async with scripted(Counting()) as (served, upstream):
        for _ in range(2):
            responses, trailer = await embed(served, text_input("a"))
            assert (results(responses)[0].cache_status, trailer) == (UNSET, "")
    assert len(upstream.visits) == 2


@pytest.mark.parametrize("modality", ["image", "audio"])
async def test_files(scripted: Scripted, modality: str) -> None:
    """The bytes of a file decide, not its name, and the result has the name of the present file."""
    names = ("first.png", "second.png") if modality == "image" else ("first.wav", "second.wav")
    async with scripted(Counting(), cache_store="memory") as (served, upstream):
        found = [results((await embed(served, file_input(modality, b"x" * 50_000, name)))[0])[0] for name in names]
        other, _ = await embed(served, file_input(modality, b"y" * 50_000, names[0]))
    assert [result.cache_status for result in found] == [MISS, HIT]
    assert results(other)[0].cache_status == MISS
    assert found[1].metadata.input_filename == names[1]
    assert len(upstream.visits) == 2


async def test_urls(scripted: Scripted) -> None:
    """URLs are cached only with the setting, which can be reloaded; the result has the URL of the call."""
    item = url_input("image", "http://media.test/a.png")
    async with scripted(Counting(), cache_store="memory") as (served, upstream):
        for _ in range(2):
            assert results((await embed(served, item))[0])[0].cache_status == UNSET
        served.app.reload(settings_of(upstream=upstream.base_url, cache_store="memory", cache_urls=True))
        found = [results((await embed(served, item))[0])[0] for _ in range(2)]
    assert [result.cache_status for result in found] == [MISS, HIT]
    assert found[1].metadata.input_url == "http://media.test/a.png"
    assert len(upstream.visits) == 3


async def test_failures_are_not_stored(scripted: Scripted) -> None:
    """After a failure, the next call of the same text is sent to the upstream."""
    script = Counting()
    script.status = 400
    async with scripted(script, cache_store="memory") as (served, upstream):
        call = served.stub.CreateEmbedding(request(text_input()), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError, match="later") as caught:
            await call.read()
        assert failed(caught.value).trailers["embedwire-cache"] == "miss=1"
        script.status = 200
        for status in (MISS, HIT):
            assert results((await embed(served, text_input()))[0])[0].cache_status == status
    assert len(upstream.visits) == 2


async def test_tenants(scripted: Scripted) -> None:
    """Two tenants with the same text, and a caller with another key, each have an upstream request of their own."""
    tokens = [{"name": "a", "sha256": sha256("tenant-a")}, {"name": "b", "sha256": sha256("tenant-b")}]
    settings = {"cache_store": "memory", "tokens": tokens, "auth_allow_caller_api_keys": True}
    async with scripted(Counting(), **settings) as (served, upstream):
        for token, key in (("tenant-a", ""), ("tenant-b", ""), ("tenant-a", "tlk_1"), ("tenant-a", "tlk_2")):
            statuses = [
                results((await embed(served, text_input(), token=token, key=key))[0])[0].cache_status for _ in range(2)
            ]
            assert statuses == [MISS, HIT]
    assert len(upstream.visits) == 4
