"""Assets and tasks of the upstream, when servers are killed, calls are cancelled, and polls fail.

The upstream is a sandbox in this process: its state shows what is left. Figures of time end with a run of the cleanup
job, so they include its interval.
"""

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_sandbox import Fault, Sandbox, SandboxOptions
from tests.support.media import padded_wav
from tests.support.uploads import ASSET_BYTES, TASK, audio, upload
from tests.system.experiment import Experiment, guarantee
from tests.system.server import Server
from tests.system.verdict import Verdict

KEY = "key-of-the-servers"
MAX_AGE, INTERVAL = 6.0, 1.0
SETTINGS = {"assets_max_age": f"{MAX_AGE:.0f}s", "assets_cleanup_interval": f"{INTERVAL:.0f}s"}
# From the end of a call until its asset is gone: its age, the job's interval, and a start of the job.
MOST_SECONDS = MAX_AGE + 2 * INTERVAL + 2.0
_DEADLINE = 10.0  # a busy machine reaches every stage before it
# The client sets no timer of its own with this metadata, so that the failure comes from the server.
_IN_TIME: dict[str, Any] = {"timeout": None, "metadata": (("grpc-timeout", f"{_DEADLINE:.0f}S"),)}


@dataclasses.dataclass
class Ending:
    """The ending of one call, and the task that its caller knows."""

    code: str = "OK"
    reason: str = ""
    task_id: str = ""
    segments: int = 0


class _Call:
    """A call that uploads a file which becomes an asset."""

    def __init__(self, channel: grpc.aio.Channel, *, is_task: bool = True, **options: Any) -> None:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        asked = audio(**TASK) if is_task else audio()
        self.call = upload(stub, padded_wav(ASSET_BYTES), asked, **options)
        self.stages: dict[int, asyncio.Event] = {stage: asyncio.Event() for stage in pb.ProgressStage.values()}
        self.ended = asyncio.create_task(self._ended())

    async def _ended(self) -> Ending:
        ending = Ending()
        try:
            async for message in self.call:
                for event in message.events:
                    ending.segments += event.HasField("segment")
                    if event.HasField("progress"):
                        ending.task_id = event.progress.upstream_task_id
                        self.stages[event.progress.stage].set()
        except grpc.aio.AioRpcError as error:
            _explain(ending, error)
        except asyncio.CancelledError:
            ending.code = "CANCELLED"
        return ending


def _explain(ending: Ending, error: grpc.aio.AioRpcError) -> None:
    ending.code = error.code().name
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info, failure = error_details_pb2.ErrorInfo(), pb.Failure()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(info)
        detail.Unpack(failure)
    ending.reason, ending.task_id = info.reason, failure.upstream_task_id or ending.task_id


@asynccontextmanager
async def _connected(server: Server) -> AsyncGenerator[grpc.aio.Channel]:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(server.target, options) as channel:
        yield channel


async def _until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait for a condition; return the seconds."""
    began = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)
    return time.monotonic() - began


def _created_twice(sandbox: Sandbox) -> int:
    """The number of tasks beyond the first of each asset."""
    return sum(count - 1 for count in Counter(task.asset_id for task in sandbox.tasks).values())


@guarantee("assets-killed")
async def servers_are_killed(experiment: Experiment) -> Verdict:
    """After SIGKILL at any stage, another server's job deletes the assets; those in use by a replica are untouched."""
    rounds, victims = experiment.scaled(2, 1), experiment.scaled(4, 2)
    options = SandboxOptions(asset_polls=0, asset_seconds=1.0, task_polls=0, task_seconds=1.5)
    verdict, seconds, endings = Verdict(), [], []
    kinds = [kind for _ in range(rounds) for kind in ("asset and task", "polling", "task and delete")]
    async with Sandbox(options) as sandbox, _server(experiment, sandbox) as replica, _connected(replica) as channel:
        working = asyncio.create_task(_work(channel))
        try:
            for kind in kinds:
                own = {asset.id for asset in sandbox.assets}
                async with _server(experiment, sandbox) as server, _connected(server) as victim:
                    calls = [_Call(victim) for _ in range(victims)]
                    await _killed(sandbox, server, calls, kind)
                    endings += [await call.ended for call in calls]
                left = [asset.id for asset in sandbox.assets if asset.id not in own]
                seconds.append(await _until(lambda left=left: _gone(sandbox, left)))  # type: ignore[misc]
        finally:
            working.cancel()
            worked = await working
        await _until(lambda: not sandbox.assets)
        assets, twice, tasks = len(sandbox.assets), _created_twice(sandbox), sandbox.operations["task_create"]
    unexplained = [one for one in endings if one.code not in {"OK", "UNAVAILABLE"}]
    verdict.exactly("assets left", assets, 0)
    verdict.at_most(
        f"s at most until those of {len(kinds)} killed servers are gone", max(seconds), MOST_SECONDS, "{:.1f}"
    )
    verdict.exactly(f"of {tasks} tasks created twice", twice, 0)
    verdict.exactly(f"of {len(worked)} calls of the replica failed", sum(one.code != "OK" for one in worked), 0)
    verdict.at_least("calls of the replica", len(worked), len(kinds))
    verdict.exactly(f"of {len(endings)} callers of killed servers without a status", len(unexplained), 0)
    return verdict


def _gone(sandbox: Sandbox, ids: Sequence[str]) -> bool:
    return not {asset.id for asset in sandbox.assets}.intersection(ids)


def _server(experiment: Experiment, sandbox: Sandbox) -> Any:
    return experiment.server(sandbox.base_url, key=KEY, **SETTINGS)


async def _work(channel: grpc.aio.Channel) -> list[Ending]:
    """Make one call after the other until cancelled; return the endings of those that have ended by then."""
    endings: list[Ending] = []
    with suppress(asyncio.CancelledError):
        while True:
            endings.append(await asyncio.shield(_Call(channel).ended))
    return endings


async def _killed(sandbox: Sandbox, server: Server, calls: list[_Call], kind: str) -> None:
    """Kill a server once all of its calls are at this stage."""
    last = pb.PROGRESS_STAGE_PREPARING if kind == "asset and task" else pb.PROGRESS_STAGE_PROCESSING
    if kind == "task and delete":
        sandbox.faults.add(Fault("delay", operation="asset_delete", delay_sec=5.0, times=None))
    await asyncio.gather(*(call.stages[last].wait() for call in calls))
    if kind == "task and delete":
        await asyncio.gather(*(call.ended for call in calls))
    server.process.kill()
    await asyncio.to_thread(server.process.wait)
    sandbox.faults.clear()


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A stage of a call, which lasts as long as the response to an operation is held."""

    operation: Any
    is_task: bool = True


STAGES = (
    _Stage("asset_create"),
    _Stage("asset_poll"),
    _Stage("task_create"),
    _Stage("task_poll"),
    _Stage("embed_v2", is_task=False),
)


@guarantee("assets-ended")
async def calls_end_at_every_stage(experiment: Experiment) -> Verdict:
    """After cancels and deadlines at every stage, with 20 % of the polls failing, no asset is left, no task twice."""
    rounds, calls = experiment.scaled(2, 1), experiment.scaled(24, 8)
    verdict, ended = Verdict(), []
    options = SandboxOptions(asset_polls=1, task_polls=2)
    async with Sandbox(options) as sandbox, _server(experiment, sandbox) as server, _connected(server) as channel:
        for stage in STAGES * rounds:
            ended += [(stage, how, await _ended_at(sandbox, channel, stage, how)) for how in ("cancel", "deadline")]
        for operation in ("task_poll", "asset_poll", "asset_delete"):
            sandbox.faults.add(Fault("status", operation=operation, every=5, times=None))
        batches = [await asyncio.gather(*(_Call(channel).ended for _ in range(4))) for _ in range(calls // 4)]
        worked = [ending for batch in batches for ending in batch]
        sandbox.faults.clear()
        seconds = await _until(lambda: not sandbox.assets)
        assets, twice, tasks = len(sandbox.assets), _created_twice(sandbox), len(sandbox.tasks)
        created = sandbox.operations["task_create"]
    late = [(stage, one) for stage, how, one in ended if how == "deadline"]
    verdict.exactly("cancelled", Counter(one.code for _, how, one in ended if how == "cancel")["CANCELLED"], len(late))
    verdict.exactly("past their deadline", Counter(one.code for _, one in late)["DEADLINE_EXCEEDED"], len(late))
    # Without a task, gRPC itself may end the call first.
    verdict.exactly(
        "of these with a task and no reason", sum(stage.is_task and not one.reason for stage, one in late), 0
    )
    unnamed = [one for stage, one in late if stage.operation == "task_poll" and not one.task_id]
    verdict.exactly("of these while polling and no task id", len(unnamed), 0)
    verdict.exactly(f"of {calls} calls with failing polls OK", sum(one.code == "OK" for one in worked), calls)
    verdict.exactly(f"of {tasks} tasks created twice", twice + created - tasks, 0)
    verdict.exactly("assets left", assets, 0)
    verdict.at_most("s until all are gone", seconds, MOST_SECONDS, "{:.1f}")
    return verdict


async def _ended_at(sandbox: Sandbox, channel: grpc.aio.Channel, stage: _Stage, how: str) -> Ending:
    """End one call while the response to an operation is held."""
    before = sandbox.operations[stage.operation]
    sandbox.faults.add(Fault("hold", operation=stage.operation, pause_sec=_DEADLINE + 2, times=None))
    call = _Call(channel, is_task=stage.is_task, **(_IN_TIME if how == "deadline" else {}))
    await _until(lambda: sandbox.operations[stage.operation] > before)
    if how == "cancel":
        await asyncio.sleep(0.2)  # the operation has had its effect
        call.call.cancel()
    ending = await call.ended
    sandbox.faults.clear()
    return ending
