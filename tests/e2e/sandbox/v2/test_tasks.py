"""Tasks of the v2 dialect, with the official SDK."""

from typing import Any

import pytest
from twelvelabs import AsyncAudioInputRequest, AsyncTwelveLabs, MediaSource
from twelvelabs.errors import NotFoundError

from embedwire_sandbox import Fault, Sandbox, SandboxOptions
from tests.e2e.sandbox.official import plain
from tests.e2e.sandbox.v2.clients import NEW, OLD, audio, encoded, multi, official, post_json
from tests.support.media import flac, wav

TEMPORAL = {"temporal": {"strategy": "fixed", "fixed": {"duration_sec": 6}}}
TASKS = "/embed-v2/tasks"


async def create(client: AsyncTwelveLabs, model: str, content: bytes, **more: Any) -> str:
    media = AsyncAudioInputRequest(media_source=MediaSource(base_64_string=encoded(content)), **more)
    created = await client.embed.v_2.tasks.create(input_type="audio", model_name=model, audio=media)
    assert (created.status, created.data) == ("processing", None)
    return created.id


async def polled(client: AsyncTwelveLabs, task_id: str) -> Any:
    """Poll until the task is ready or has failed."""
    while (task := await client.embed.v_2.tasks.retrieve(task_id)).status == "processing":
        assert task.data is None
    return task


async def test_ready() -> None:
    """A task is processing for the configured number of polls, then ready with everything that a sync call returns."""
    async with Sandbox(SandboxOptions(task_polls=3)) as sandbox, official(sandbox) as client:
        task_id = await create(client, OLD, flac(13))
        statuses = [(await client.embed.v_2.tasks.retrieve(task_id)).status for _ in range(3)]
        task: Any = await client.embed.v_2.tasks.retrieve(task_id)
        sync = await post_json(sandbox, "/embed-v2", audio({"base64_string": encoded(flac(13))}))

    assert statuses == ["processing"] * 3
    assert task.status == "ready"
    assert [item.embedding for item in task.data] == [item["embedding"] for item in sync.json()["data"]]
    assert (task.metadata.duration, task.usage, task.error) == (13, None, None)
    assert task.updated_at >= task.created_at


async def test_location(sandbox: Sandbox) -> None:
    """The creation is a 202 whose `Location` is the absolute URL of the task."""
    reply = await post_json(sandbox, TASKS, audio({"base64_string": encoded(flac(5))}))
    async with plain(sandbox) as http:
        task = await http.get(reply.headers["Location"])

    assert reply.status_code == 202
    assert reply.json() == {"_id": task.json()["_id"], "status": "processing", "data": None}
    assert len(task.json()["_id"]) == 24
    assert reply.headers["Location"] == f"{sandbox.base_url}{TASKS}/{task.json()['_id']}"


async def test_newer(sandbox: Sandbox) -> None:
    """A task of Marengo 3.5 has segments, a dimension and tokens; `local` comes back as `clip`."""
    body = {
        **audio({"base64_string": encoded(flac(13))}, NEW, segmentation=TEMPORAL, embedding_scope=["local"]),
        "embedding_dimension": 256,
        "embedding_uncertainty": True,
    }
    created = (await post_json(sandbox, TASKS, body)).json()
    async with official(sandbox) as client:
        task = await polled(client, created["_id"])

    assert created["metadata"] == {"embedding_dimension": 256}
    assert {(item.embedding_scope, item.embedding_option) for item in task.data} == {("clip", "audio")}
    assert sorted((item.start_sec, item.end_sec) for item in task.data) == [(0, 6), (6, 12), (12, 13)]
    assert (
        {len(item.embedding) for item in task.data} == {len(item.embedding_uncertainty) for item in task.data} == {256}
    )
    assert task.metadata.embedding_scopes == ["local"]
    assert task.usage.input_tokens == {"audio": 325}


async def test_dynamic(sandbox: Sandbox) -> None:
    """By default, segments of Marengo 3.5 have different lengths of at least 2 s, without a gap."""
    created = (await post_json(sandbox, TASKS, audio({"base64_string": encoded(flac(13))}, NEW))).json()
    async with official(sandbox) as client:
        task = await polled(client, created["_id"])

    clips = sorted((item.start_sec, item.end_sec) for item in task.data if item.embedding_scope == "clip")
    assert len({end - start for start, end in clips}) > 1
    assert min(end - start for start, end in clips) >= 2
    assert [0, *(end for _, end in clips)] == [*(start for start, _ in clips), 13]


async def test_fused(sandbox: Sandbox) -> None:
    """Fused vectors of Marengo 3.5 contain the texts of the caller for the segments that they overlap."""
    texts = [{"start": 7, "end": 8, "text": "goal"}]
    vectors = []
    for text in (texts, [{**texts[0], "text": "foul"}]):
        body = audio(
            {"base64_string": encoded(flac(12))},
            NEW,
            segmentation=TEMPORAL,
            embedding_scope=["clip"],
            embedding_type=["fused_embedding"],
            time_based_metadata=text,
        )
        created = (await post_json(sandbox, TASKS, body)).json()
        async with official(sandbox) as client:
            task = await polled(client, created["_id"])
        vectors.append({item.start_sec: item.embedding for item in task.data})

    assert vectors[0][0] == vectors[1][0]
    assert vectors[0][6] != vectors[1][6]


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "too short": (audio({"base64_string": encoded(flac(3))}), "The embedding request was invalid."),
    "broken": (
        audio({"base64_string": encoded(flac(8)[:-3000])}),
        "We could not process your media for embedding. Please verify the input file and try again.",
    ),
    "unreachable": (audio({"url": "http://127.0.0.1:9/x.wav"}), "failed to fetch or materialize source media"),
    "outside": (audio({"base64_string": encoded(flac(8))}, start_sec=9), "The embedding request was invalid."),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failed(sandbox: Sandbox, case: str) -> None:
    """Media that cannot be embedded are accepted, and fail later with one of the documented messages."""
    body, message = FAILURES[case]
    created = await post_json(sandbox, TASKS, body)
    async with official(sandbox) as client:
        task = await polled(client, created.json()["_id"])

    assert created.status_code == 202
    assert (task.status, task.data, task.error.message) == ("failed", None, message)


async def test_too_long() -> None:
    """A task with audio that is too long fails with both lengths."""
    async with Sandbox(SandboxOptions(max_task_audio_sec=10)) as sandbox, official(sandbox) as client:
        task = await polled(client, await create(client, OLD, flac(13)))
    assert task.error.message == "Duration (13.0 seconds) exceeds maximum limit of 10 seconds (0 minutes)"
    assert SandboxOptions().max_task_audio_sec == 4 * 3_600


async def test_scripted_failure() -> None:
    """An option lets all tasks fail; a fault lets one fail."""
    message = "The embedding service is temporarily unstable. Please try again later."
    async with Sandbox(SandboxOptions(task_failure=message)) as sandbox, official(sandbox) as client:
        assert (await polled(client, await create(client, OLD, flac(5)))).error.message == message
    async with Sandbox() as sandbox, official(sandbox) as client:
        sandbox.faults.add(Fault("modality_error", operation="task_create", message=message))
        assert (await polled(client, await create(client, OLD, flac(5)))).error.message == message
        assert (await polled(client, await create(client, OLD, flac(5)))).status == "ready"


async def test_unknown(sandbox: Sandbox) -> None:
    """A task that does not exist, or belongs to another key, is a nested 404 that the SDK recognises."""
    async with official(sandbox) as client, official(sandbox, "other") as other:
        task_id = await create(client, OLD, flac(5))
        for asked, of in ((client, "0" * 24), (other, task_id)):
            with pytest.raises(NotFoundError):
                await asked.embed.v_2.tasks.retrieve(of)
    async with plain(sandbox) as http:
        reply = await http.get(f"{TASKS}/unknown")
    assert reply.json()["error"]["code"] == "NOT_FOUND"


async def test_polls_are_not_limited() -> None:
    """Polls do not count against the rate limit of audio, and have no headers of it."""
    async with Sandbox(SandboxOptions(requests_per_minute={"audio": 1})) as sandbox, plain(sandbox) as http:
        created = await http.post(TASKS, json=audio({"base64_string": encoded(flac(5))}))
        polls = [await http.get(created.headers["Location"]) for _ in range(3)]
        limited = await http.post(TASKS, json=audio({"base64_string": encoded(flac(5))}))

    assert [poll.status_code for poll in polls] == [200] * 3
    assert "x-ratelimit-limit" not in polls[0].headers
    assert limited.status_code == 429


async def test_expiry() -> None:
    """A task is unknown after its expiry."""
    async with Sandbox(SandboxOptions(task_expiry_sec=0.0)) as sandbox, official(sandbox) as client:
        task_id = await create(client, OLD, flac(5))
        with pytest.raises(NotFoundError):
            await client.embed.v_2.tasks.retrieve(task_id)
        assert sandbox.tasks == []


async def test_list(sandbox: Sandbox) -> None:
    """Tasks are listed by page, newest first, filtered by status and time; with metadata in the names of v1."""
    async with official(sandbox) as client:
        ids = [await create(client, OLD, flac(5)) for _ in range(3)]
        await polled(client, ids[0])
        listed = [item async for item in await client.embed.v_2.tasks.list(page_limit=2)]
        ready: list[Any] = [item async for item in await client.embed.v_2.tasks.list(status="ready")]
        later = [item async for item in await client.embed.v_2.tasks.list(started_at="2200-01-01T00:00:00Z")]

    assert [item.id for item in listed] == ids[::-1]
    assert [item.id for item in ready] == ids[:1]
    assert ready[0].audio_embedding.metadata.duration == 5
    assert ready[0].model_name == OLD
    assert later == []


BAD: dict[str, dict[str, Any]] = {
    "plain segmentation with 3.5": audio({"url": "http://x/"}, NEW, segmentation=TEMPORAL["temporal"]),
    "temporal segmentation with 3.0": audio({"url": "http://x/"}, segmentation=TEMPORAL),
    "transcription with 3.5": audio({"url": "http://x/"}, NEW, embedding_option=["audio", "transcription"]),
    "fused with 3.5 without texts": audio({"url": "http://x/"}, NEW, embedding_type=["fused_embedding"]),
    "uncertainty with asset": {**audio({"url": "http://x/"}, NEW), "embedding_uncertainty": True},
    "dimension with 3.0": {**audio({"url": "http://x/"}), "embedding_dimension": 512},
    "auto_truncate": {**audio({"url": "http://x/"}, NEW), "auto_truncate": True},
    "local scope with 3.0": audio({"url": "http://x/"}, embedding_scope=["local"]),
    "sync input type": multi("x"),
    "document with 3.0": {"input_type": "document", "model_name": OLD, "document": {"media_source": {"url": "u"}}},
    "unknown model": audio({"url": "http://x/"}, "marengo2.7"),
}


@pytest.mark.parametrize("case", BAD)
async def test_rejected(sandbox: Sandbox, case: str) -> None:
    """Wrong parameters of a task are a 400, and no task is created."""
    reply = await post_json(sandbox, TASKS, BAD[case])

    assert reply.status_code == 400
    assert reply.json()["code"].startswith("parameter_")
    assert sandbox.tasks == []


async def test_long_recording(sandbox: Sandbox) -> None:
    """A recording of 25 minutes, too long for a sync call, has a vector for each window and option, and two more."""
    content = wav(1_500, rate=8000)
    async with official(sandbox) as client:
        task = await polled(client, await create(client, OLD, content))

    assert len(task.data) == 502
