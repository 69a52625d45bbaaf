"""`embedwire batch` with many texts and an upstream that answers immediately: its memory, and its throughput."""

import asyncio
import statistics
import time
from pathlib import Path

from tests.system import batch_inputs, batch_loop, batch_output
from tests.system.batch import workspace
from tests.system.batch_command import Command, batch
from tests.system.batch_upstream import DIMENSIONS, BatchUpstream
from tests.system.experiment import Experiment, guarantee
from tests.system.server import MIB, growth
from tests.system.verdict import Verdict

WARM_UP = 2_000  # inputs
GROWTH_MIB, LAST_GROWTH_MIB = 64, 16
TEXTS, PART_ROWS = 150_000, 65_536
PAIRS, TEXTS_OF_A_RUN = 3, 20_000
# By the delay of the upstream's answers in seconds. Without one, all processes compete for the processors.
LEAST_RATIOS = {0.05: 0.9, 0.0: 0.6}
INTERVAL = 0.05  # of samples, in seconds


@guarantee("batch-memory", large=True)
async def memory_does_not_grow(experiment: Experiment) -> Verdict:
    """The memory of a batch does not grow with its inputs, also while part files are written."""
    verdict, upstream = Verdict(), BatchUpstream(seconds=0)
    with workspace(experiment, verdict) as folder:
        inputs = batch_inputs.write_texts(folder, TEXTS)
        async with experiment.upstream(upstream.script) as peer, experiment.server(peer.base_url) as server:
            log = experiment.directory / f"{experiment.name}-command.log"
            async with Command.running(batch(inputs.sources, folder / "output", server.target), log) as command:
                await upstream.reached(WARM_UP)
                memory = [command.memory()]
                ended = asyncio.create_task(command.ended())
                while not ended.done():
                    memory.append(command.memory())
                    await asyncio.wait([ended], timeout=INTERVAL)
                verdict.exactly("exit code", await ended, 0)
        parts = batch_output.check(verdict, folder / "output", inputs)
    verdict.at_least("part files", parts, TEXTS // PART_ROWS)
    verdict.at_least("MiB of vectors", TEXTS * DIMENSIONS * 4 / MIB, 4 * GROWTH_MIB, "{:.0f}")
    verdict.at_most(f"MiB above {memory[0] / MIB:.0f}", (max(memory) - memory[0]) / MIB, GROWTH_MIB, "{:.1f}")
    verdict.at_most("MiB more in the last third of the run", growth(memory), LAST_GROWTH_MIB, "{:.1f}")
    return verdict


@guarantee("batch-throughput", large=True)
async def the_command_is_as_fast_as_a_loop(experiment: Experiment) -> Verdict:
    """A batch embeds at least 90 % of the texts per second of a hand-tuned loop of the client without a ledger."""
    verdict = Verdict()
    with workspace(experiment, verdict) as folder:
        texts = batch_inputs.write_texts(folder, TEXTS_OF_A_RUN).sources[0]
        for seconds, least in LEAST_RATIOS.items():
            ratios = await _ratios(experiment, folder, texts, seconds)
            what = f"times a loop if the upstream answers after {1000 * seconds:.0f} ms, median of {PAIRS} pairs"
            verdict.at_least(what, statistics.median(ratios), least, "{:.2f}")
    return verdict


async def _ratios(experiment: Experiment, folder: Path, texts: Path, delay: float) -> list[float]:
    """Return the texts per second of batches, each divided by those of the faster one of two loops after it."""
    ratios: list[float] = []
    log = experiment.directory / f"{experiment.name}-command.log"
    async with (
        experiment.upstream(BatchUpstream(seconds=delay).script) as peer,
        experiment.server(peer.base_url) as server,
    ):
        for number in range(PAIRS):
            command = batch([texts], folder / f"output-{delay}-{number}", server.target)
            loops = [
                ["-m", batch_loop.__name__, kind, str(texts), str(folder / f"{kind}.npy"), server.target]
                for kind in ("map", "threads")
            ]
            seconds = [await _seconds(words, log) for words in (command, *loops)]
            ratios.append(min(seconds[1:]) / seconds[0])
    return ratios


async def _seconds(words: list[str], log: Path) -> float:
    """Run a program; return its duration in seconds, with its start."""
    began = time.monotonic()
    async with Command.running(words, log) as command:
        if code := await command.ended():
            raise RuntimeError(f"exit code {code}, see {log}")
    return time.monotonic() - began
