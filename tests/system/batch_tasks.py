"""`embedwire batch` with recordings that the upstream processes as tasks: killed, its tasks are taken over.

The upstream is a sandbox in this process, which counts the tasks.
"""

import asyncio
import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from embedwire_sandbox import Sandbox, SandboxOptions
from tests.system import batch_inputs, batch_output
from tests.system.batch import KILLS, first_of, workspace
from tests.system.batch_command import Command, batch
from tests.system.batch_inputs import Inputs
from tests.system.experiment import Experiment, guarantee, settled
from tests.system.server import Server
from tests.system.verdict import Verdict

TASK_SECONDS = 1.0
CALLS = {"inputs_per_call": 2, "concurrent_calls": 3, "processing_mode": "task"}


@dataclasses.dataclass
class _Killed:
    """A batch of tasks that is killed repeatedly.

    Attributes:
        known: number of tasks at each kill that the ledger had for inputs without a result.
        lost: number of tasks until the last kill of which the ledger had neither identifier nor result.
    """

    sandbox: Sandbox
    server: Server
    words: list[str]
    output: Path
    log: Path
    known: list[int] = dataclasses.field(default_factory=list)
    lost: int = 0

    async def kill_at(self, tasks: int) -> None:
        """Start the command, and kill it when there are this many tasks and one more poll."""
        async with Command.running(self.words, self.log) as command:
            await first_of(self._polled(tasks), command.ended())
            await command.kill()
        await settled(self.server)
        self.known.append(len(batch_output.tasks(self.output)))
        self.lost = self.created - self.known[-1] - len(batch_output.completed(self.output))

    @property
    def created(self) -> int:
        return self.sandbox.operations["task_create"]

    async def _polled(self, tasks: int) -> None:
        while self.created < tasks:
            await asyncio.sleep(0.02)
        polls = self.sandbox.operations["task_poll"]
        while self.sandbox.operations["task_poll"] == polls:
            await asyncio.sleep(0.02)


@guarantee("batch-tasks")
async def tasks_are_taken_over(experiment: Experiment) -> Verdict:
    """A killed batch gets the results of the tasks that its ledger has, and creates none of them again."""
    count, verdict = experiment.scaled(40, 9), Verdict()
    with workspace(experiment, verdict) as folder:
        inputs = batch_inputs.write_recordings(folder, count)
        async with (
            Sandbox(SandboxOptions(task_polls=0, task_seconds=TASK_SECONDS)) as sandbox,
            experiment.server(sandbox.base_url, key="key") as server,
        ):
            log, output = experiment.directory / f"{experiment.name}-command.log", folder / "output"
            words = batch(inputs.sources, output, server.target, **CALLS)
            killed = _Killed(sandbox, server, words, output, log)
            for number in range(KILLS):
                await killed.kill_at((number + 1) * count // (KILLS + 1))
            verdict.exactly("exit code", await _completed(words, log), 0)
            created = killed.created
            undisturbed = batch(inputs.sources, folder / "undisturbed", server.target, **CALLS)
            verdict.exactly("exit code without a kill", await _completed(undisturbed, log), 0)
        rows, expected = _rows(output, inputs), _rows(folder / "undisturbed", inputs)
        same = rows.num_rows if rows.equals(expected) else 0
        verdict.exactly("rows as without a kill", same, expected.num_rows)
        verdict.exactly("failures", len(batch_output.failures(output)), 0)
        verdict.exactly(f"tasks of {count} recordings, {killed.lost} lost", created, count + killed.lost)
        verdict.at_least(f"tasks taken over, {killed.known} at each kill", sum(killed.known), 1)
    return verdict


async def _completed(words: list[str], log: Path) -> int:
    async with Command.running(words, log) as command:
        return await command.ended()


def _rows(output: Path, inputs: Inputs) -> pa.Table:
    """Return the rows in the order of keys and segments."""
    table = ds.dataset(output / "embeddings", format="parquet").to_table()
    if set(table.column("key").to_pylist()) != inputs.embedded.keys():
        raise ValueError("the output has other keys than the inputs")
    return table.sort_by([("key", "ascending"), ("segment_index", "ascending")])
