"""`embedwire batch`: killed and resumed; with broken inputs, failures of the upstream and restarts of the server."""

import asyncio
import contextlib
import dataclasses
import random
import shutil
from collections.abc import Awaitable, Iterator
from pathlib import Path

from embedwire.batch.options import BatchOptions
from tests.support.ports import held_port
from tests.system import batch_inputs, batch_output
from tests.system.batch_command import Command, batch
from tests.system.batch_inputs import Inputs
from tests.system.batch_upstream import BatchUpstream
from tests.system.experiment import Experiment, guarantee, settled
from tests.system.replicas import Replica
from tests.system.server import Server
from tests.system.verdict import Verdict

FULL, SHORT = (20_000, 500, 40), (2_000, 50, 6)  # texts, images, recordings
KILLS = 3
PARTS = 6  # part files, so that some are written between the kills
BROKEN, FAILING = 0.05, 0.1
IN_FLIGHT = BatchOptions().window + 1  # one input may be received and not saved yet


@contextlib.contextmanager
def workspace(experiment: Experiment, verdict: Verdict) -> Iterator[Path]:
    """Provide an empty folder, which is kept if the guarantee is not."""
    folder = experiment.directory / f"{experiment.name}.data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    if verdict.kept:
        shutil.rmtree(folder)


@dataclasses.dataclass
class _Killed:
    """A batch that is killed repeatedly.

    Attributes:
        in_flight: number of inputs of each killed run that the upstream had received and the ledger did not have.
        saved: number of requests at each kill for each input that the ledger had.
    """

    inputs: Inputs
    upstream: BatchUpstream
    server: Server
    folder: Path
    log: Path
    in_flight: list[int] = dataclasses.field(default_factory=list)
    saved: list[dict[bytes, int]] = dataclasses.field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def running(self) -> contextlib.AbstractAsyncContextManager[Command]:
        words = batch(self.inputs.sources, self.output, self.server.target, part_rows=self.inputs.count // PARTS)
        return Command.running(words, self.log)

    async def kill_at(self, moment: Awaitable[object]) -> None:
        """Start the command, and kill it at this moment."""
        before = self.upstream.requests.copy()
        async with self.running() as command:
            await first_of(moment, command.ended())
            await command.kill()
        await settled(self.server)
        saved = {self.inputs.embedded[key].identity for key in batch_output.completed(self.output)}
        self.in_flight.append(len((self.upstream.requests - before).keys() - saved))
        self.saved.append({one: self.upstream.requests[one] for one in saved})

    async def next_part(self) -> None:
        """Wait until a part file has its name; the ledger records it afterwards."""
        before = self._parts()
        while self._parts() == before:
            await asyncio.sleep(0.001)

    def _parts(self) -> int:
        return len(list(self.output.glob("embeddings/part-*")))

    def paid_again(self) -> int:
        """Return the number of inputs that were requested again after the ledger had them."""
        return sum(self.upstream.requests[one] > count for saved in self.saved for one, count in saved.items())


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait for one of them; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        task.result()


def _moments(inputs: int, seed: int) -> list[int]:
    """Return random numbers of inputs, with some between them."""
    numbers = random.Random(seed)
    moment, moments = 0, []
    for _ in range(KILLS):
        moment += numbers.randint(inputs // 20, inputs // 4)
        moments.append(moment)
    return moments


@guarantee("batch-kills")
async def killed_batches_are_resumed(experiment: Experiment) -> Verdict:
    """A batch that is killed and resumed has each input exactly once, and pays again only for what was in flight."""
    verdict, upstream = Verdict(), BatchUpstream()
    with workspace(experiment, verdict) as folder:
        inputs = batch_inputs.write(folder, experiment.scaled(FULL, SHORT), experiment.seed)
        async with (
            experiment.upstream(upstream.script) as peer,
            experiment.server(peer.base_url) as server,
        ):
            log = experiment.directory / f"{experiment.name}-command.log"
            killed = _Killed(inputs, upstream, server, folder, log)
            for moment in _moments(inputs.count, experiment.seed):
                await killed.kill_at(upstream.reached(moment))
            await killed.kill_at(killed.next_part())
            await killed.kill_at(upstream.reached(inputs.count))
            async with killed.running() as command:
                verdict.exactly("exit code", await command.ended(), 0)
        batch_output.check(verdict, killed.output, inputs)
        most = inputs.count + sum(killed.in_flight)
        verdict.at_most(f"requests, in flight {killed.in_flight}", upstream.requests.total(), most)
        verdict.at_most("in flight at a kill", max(killed.in_flight), IN_FLIGHT)
        verdict.exactly("paid again that were saved", killed.paid_again(), 0)
    return verdict


@guarantee("batch-faults")
async def faults_cost_no_input(experiment: Experiment) -> Verdict:
    """With broken inputs, failures of the upstream and replaced servers, all other inputs are embedded exactly once."""
    verdict, upstream = Verdict(), BatchUpstream(experiment.seed, FAILING)
    with workspace(experiment, verdict) as folder, held_port() as port:
        inputs = batch_inputs.write(folder, experiment.scaled(FULL, SHORT), experiment.seed, BROKEN)
        log = experiment.directory / f"{experiment.name}-command.log"
        async with experiment.upstream(upstream.script) as peer:
            # With few attempts of the server, the command has to send inputs again.
            server = Replica(experiment, peer.base_url, port, retry_max_attempts=2)
            words = batch(inputs.sources, folder / "output", server.target, part_rows=inputs.count // PARTS)
            try:
                await server.start()
                async with Command.running(words, log) as command:
                    ended = asyncio.create_task(command.ended())
                    await first_of(_replaced(server, upstream, inputs.count), asyncio.shield(ended))
                    verdict.exactly("exit code", await ended, 1)
            finally:
                await server.kill()
        batch_output.check(verdict, folder / "output", inputs)
        verdict.at_least(
            "of the replies 429 or 503", upstream.failed / upstream.requests.total(), 0.8 * FAILING, "{:.1%}"
        )
        verdict.exactly("exit codes of the server", server.codes, [0])
    return verdict


async def _replaced(server: Replica, upstream: BatchUpstream, inputs: int) -> None:
    """Restart the server after a third of the inputs, and replace a killed one after two thirds."""
    await upstream.reached(inputs // 3)
    await server.restart()
    await upstream.reached(2 * inputs // 3)
    await server.kill()
    await server.start()
