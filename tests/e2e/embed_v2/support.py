"""A server with the sandbox as its upstream, audio of the size of an asset, and the events of a call."""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_sandbox import Sandbox, SandboxOptions
from tests.support import uploads
from tests.support.media import padded_wav
from tests.support.messages import Failed, events_of, failed, request
from tests.support.serving import Served, serving
from tests.support.uploads import ASSET_BYTES

KEY = "key-of-the-server"
# Nothing is processing when it is asked for: a test waits for no poll.
AT_ONCE = SandboxOptions(asset_polls=0, task_polls=0)
CHUNKS_BYTES = 201_000_000  # above the limit of one request for an asset

UPLOADING, PREPARING, PROCESSING = (
    pb.PROGRESS_STAGE_UPLOADING,
    pb.PROGRESS_STAGE_PREPARING,
    pb.PROGRESS_STAGE_PROCESSING,
)
# The client sets no timer of its own with this metadata, so that the failure comes from the server.
IN_TIME: dict[str, Any] = {"timeout": None, "metadata": (("grpc-timeout", "8S"),)}


@contextlib.asynccontextmanager
async def running(options: SandboxOptions = AT_ONCE, **settings: Any) -> AsyncGenerator[tuple[Served, Sandbox]]:
    """Run a sandbox, and a server that uses it."""
    async with Sandbox(options) as sandbox, serving(**on(sandbox), **settings) as served:
        yield served, sandbox


def on(sandbox: Sandbox) -> dict[str, Any]:
    """The settings of a server that uses a sandbox."""
    return {"upstream": sandbox.base_url, "api_key": KEY}


def padded(size: int = ASSET_BYTES) -> bytes:
    """A WAV file of this size."""
    return padded_wav(size)


def upload(served: Served, content: bytes, asked: pb.AudioInput, **options: Any) -> Any:
    """Begin a call that uploads one file."""
    return uploads.upload(served.stub, content, asked, **options)


def from_source(served: Served, asked: pb.AudioInput, model: str = "marengo3.0", **options: Any) -> Any:
    """Begin a call for audio that is not uploaded."""
    return served.stub.CreateEmbedding(request(pb.Input(audio=asked), model=model), **({"timeout": 60} | options))


def file_of(content: bytes, **members: Any) -> pb.AudioInput:
    """Audio within the message."""
    return pb.AudioInput(source=pb.MediaSource(file=pb.FileSource(data=content, file_name="a.wav")), **members)


def of_task(task_id: str) -> pb.AudioInput:
    """The result of an earlier task."""
    return pb.AudioInput(source=pb.MediaSource(task=pb.TaskSource(id=task_id)))


@dataclasses.dataclass
class Outcome:
    """The events of a call for one input, and its failure."""

    events: list[pb.EmbeddingEvent]
    failure: Failed | None = None

    @property
    def stages(self) -> list[tuple[int, str]]:
        """The stages, each with the identifier of the task."""
        found = [event.progress for event in self.events if event.HasField("progress")]
        return [(progress.stage, progress.upstream_task_id) for progress in found]

    @property
    def segments(self) -> list[pb.Segment]:
        return [event.segment for event in self.events if event.HasField("segment")]

    @property
    def result(self) -> pb.InputResult:
        (result,) = [event.result for event in self.events if event.HasField("result")]
        return result

    @property
    def refused(self) -> Failed:
        assert self.failure is not None, "the call succeeded"
        return self.failure


async def outcome(call: Any) -> Outcome:
    """Read a call to its end."""
    found = Outcome([])
    try:
        async for message in call:
            found.events += events_of([message])
    except grpc.aio.AioRpcError as error:
        found.failure = failed(error)
    return found


async def stage(call: Any, wanted: int) -> pb.InputProgress:
    """Read a call up to a stage."""
    async for message in call:
        for event in message.events:
            found: pb.InputProgress = event.progress
            if found.stage == wanted:
                return found
    raise AssertionError("the call ended before that stage")


def counts(sandbox: Sandbox) -> dict[str, int]:
    """The numbers of calls by operation, without those that list assets: the cleanup job makes them at any time."""
    return {name: count for name, count in sandbox.operations.items() if count and name != "asset_list"}
