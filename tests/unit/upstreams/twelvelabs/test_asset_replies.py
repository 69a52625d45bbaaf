"""Replies about assets that are odd, hostile or never complete."""

from typing import Any

import pytest

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.core.inputs import FileSource
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.base import Job
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.twelvelabs.assets import MAX_PAGES, PAGE_SIZE, AssetStore
from embedwire_server.upstreams.twelvelabs.polling import ANSWER_SECONDS
from embedwire_server.upstreams.twelvelabs.route import Upload
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect
from tests.support.embed_calls import call
from tests.support.virtual_time import in_virtual_time, now
from tests.unit.upstreams.twelvelabs.scripted_support import KEY, CannedResponse, CannedSender, answering

ASSET = {"_id": "a1", "status": "ready", "filename": "embedwire-blue-" + 24 * "0", "created_at": "2026-01-01T00:00:00Z"}
FILE = FileSource(InMemoryContent(b"x"), "a.wav", "audio/wav")


@pytest.mark.parametrize("status", [None, "", True, 1, ["ready"], {"a": 1}], ids=repr)
async def test_no_status(status: Any) -> None:
    """An asset without a status makes the reply malformed: it would never be ready."""
    async with answering(lambda *_: ASSET | {"status": status}) as (client, dialect, _):
        store = AssetStore(client, dialect, "blue")
        with pytest.raises(UpstreamFailure) as raised:
            await store.provide(call("audio"), FILE, Job(asset_id="a1"), Upload.DIRECT, 1)

    assert raised.value.reason is Reason.UPSTREAM_MALFORMED_REPLY


async def test_identifier_with_the_key() -> None:
    """An identifier that contains the key makes the reply malformed: it would be passed on and logged."""
    async with answering(lambda *_: ASSET | {"_id": f"a-{KEY}"}) as (client, dialect, _):
        job = Job()
        with pytest.raises(UpstreamFailure) as raised:
            await AssetStore(client, dialect, "blue").provide(call("audio"), FILE, job, Upload.DIRECT, 1)

    assert raised.value.reason is Reason.UPSTREAM_MALFORMED_REPLY
    assert KEY not in raised.value.message
    assert not job.asset_id


@pytest.mark.parametrize("member", ["status", "filename", "created_at", "error"])
@pytest.mark.parametrize("value", [None, True, 1, [1], {"a": 1}, "\ud800"], ids=repr)
async def test_members_of_a_listed_asset(member: str, value: Any) -> None:
    """Members of other types in the list of assets are no failure; without a time, an asset is young."""
    async with answering(lambda *_: {"data": [ASSET | {member: value}]}) as (client, dialect, _):
        found = [one async for one in AssetStore(client, dialect, "blue").list(call())]

    assert [one.id for one in found] == ([] if member == "filename" else ["a1"])


async def test_endless_list() -> None:
    """A list of assets without an end is read up to a limit."""
    async with answering(lambda *_: {"data": [ASSET] * PAGE_SIZE}) as (client, dialect, server):
        count = 0
        async for _ in AssetStore(client, dialect, "blue").list(call()):
            count += 1

    assert len(server.visits) == MAX_PAGES
    assert count == MAX_PAGES * PAGE_SIZE


async def test_undivided_list() -> None:
    """The list of an upstream that does not divide it into pages is read once."""
    async with answering(lambda *_: {"data": [ASSET] * 2 * PAGE_SIZE}) as (client, dialect, server):
        found = [one async for one in AssetStore(client, dialect, "blue").list(call())]

    assert (len(server.visits), len(found)) == (1, 2 * PAGE_SIZE)


@in_virtual_time
async def test_list_that_never_arrives() -> None:
    """A list whose body never arrives fails in time: the cleanup job would wait for it forever."""
    response = CannedResponse(None)
    store = AssetStore(
        HttpClient(CannedSender(response), "twelvelabs"), V2Dialect("https://up.test", KEY, "test"), "blue"
    )
    with pytest.raises(UpstreamFailure) as raised:
        await anext(store.list(call()))

    assert raised.value.reason is Reason.UPSTREAM_TIMEOUT
    assert now() == pytest.approx(ANSWER_SECONDS)
    assert response.is_closed
