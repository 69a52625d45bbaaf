"""Scheduling policy of gRPC's threads: they do not preempt the event loop."""

import os
import threading
from pathlib import Path

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.rpc.thread_scheduling import batch_threads
from tests.support.messages import text_input
from tests.support.process import ServerProcess
from tests.support.upstreams import Visit, reply

TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
POLICY = 38  # Fields of /proc/PID/task/TID/stat, counted behind the name: see proc(5)


def policies(pid: int) -> dict[int, tuple[str, int]]:
    """The name and the scheduling policy of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        found[int(task.name)] = name, int(rest.split()[POLICY])
    return found


async def test_threads_of_grpc_do_not_preempt_the_event_loop() -> None:
    """Threads of gRPC have SCHED_BATCH after a call; all others keep the policy that the server started with."""

    async def answer(visit: Visit) -> None:
        await visit.answer(reply())

    async with ServerProcess.running(answer) as server:
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=30)
        found = policies(server.process.pid)

    assert found.pop(server.process.pid)[1] == os.SCHED_OTHER
    assert {policy for name, policy in found.values() if name == "event_engine"} == {os.SCHED_BATCH}
    # Of the threads that Python has started (log, metrics, resources), gRPC's is the one that passes events on.
    started_by_python = [policy for name, policy in found.values() if name.startswith("python")]
    assert started_by_python.count(os.SCHED_BATCH) == 1
    assert set(started_by_python) == {os.SCHED_OTHER, os.SCHED_BATCH}


@pytest.mark.parametrize(
    ("own", "inherited"), [(os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)], ids=["default", "chosen"]
)
def test_the_policy_is_changed_for_new_threads_only(own: int, inherited: int) -> None:
    """New threads have SCHED_BATCH unless the operator chose a policy; the calling thread keeps its own."""
    seen = []

    def run() -> None:
        os.sched_setscheduler(0, own, os.sched_param(0))
        with batch_threads():
            inner = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
            inner.start()
            inner.join()
        seen.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [inherited, own]
