"""Files above 200 MB are uploaded in chunks, whose requests never have a key."""

import pytest

from embedwire_sandbox import Fault, SandboxOptions
from tests.e2e.embed_v2.support import CHUNKS_BYTES, PROCESSING, UPLOADING, counts, outcome, padded, running, upload
from tests.support.serving import until
from tests.support.uploads import TASK, audio

# Three chunks, of which the first response has the URL of one: the others are requested.
LARGE_CHUNKS = SandboxOptions(asset_polls=0, task_polls=0, chunk_bytes=80_000_000, first_chunk_urls=1)


async def test_upload() -> None:
    """A file becomes an asset by chunks, which a task uses, and is deleted. The sandbox refuses chunks with a key."""
    async with running(LARGE_CHUNKS) as (served, sandbox):
        found = await outcome(upload(served, padded(CHUNKS_BYTES), audio(**TASK), timeout=120))
        await until(lambda: not sandbox.assets)
        statuses = [one.status for one in sandbox.journal if one.operation == "chunk"]
        (task,) = sandbox.tasks
        assert not sandbox.uploads

    assert found.failure is None
    assert (found.stages[0], found.stages[-1]) == ((UPLOADING, ""), (PROCESSING, task.id))
    assert len(found.segments) == found.result.segment_count > 0
    assert statuses == [200, 200, 200]
    made = counts(sandbox)
    assert (made["upload_create"], made["upload_complete"], made["asset_delete"]) == (1, 1, 1)
    assert "asset_create" not in made


@pytest.mark.parametrize("operation", ["upload_create", "upload_complete"])
async def test_lost_reply(operation: str) -> None:
    """An upload whose creation or completion was not confirmed fails its input, and is not begun again."""
    async with running(LARGE_CHUNKS) as (served, sandbox):
        sandbox.faults.add(Fault("lost_reply", operation=operation, times=None))  # type: ignore[arg-type]
        found = await outcome(upload(served, padded(CHUNKS_BYTES), audio(**TASK), timeout=120))

    assert found.refused.info.reason == "UPSTREAM_UNAVAILABLE"
    assert counts(sandbox)["upload_create"] == counts(sandbox)[operation] == 1
    assert "task_create" not in counts(sandbox)
