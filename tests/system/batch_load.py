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
from tests.system.server import MIB
from tests.system.verdict import Verdict

WARM_UP = 2_000  # inputs
GROWTH_MIB = 64
TEXTS, PART_ROWS = 150_000, 65_536
PAIRS, TEXTS_OF_A_RUN = 5, 20_000
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
    return verdict


@guarantee("batch-throughput", large=True)
async def the_command_is_as_fast_as_a_loop(experiment: Experiment) -> Verdict:
    """A batch embeds at least 90 % of the texts per second of a hand-tuned loop of the client without a ledger."""
    verdict, upstream = Verdict(), BatchUpstream(seconds=0)
    ratios = []
    with workspace(experiment, verdict) as folder:
        texts = batch_inputs.write_texts(folder, TEXTS_OF_A_RUN).sources
        async with experiment.upstream(upstream.script) as peer, experiment.server(peer.base_url) as server:
            log = experiment.directory / f"{experiment.name}-command.log"
            for number in range(PAIRS):
                loops = [
                    ["-m", batch_loop.__name__, kind, str(texts[0]), str(folder / f"{kind}.npy"), server.target]
                    for kind in ("map", "threads")
                ]
                words = batch(texts, folder / f"output-{number}", server.target)
                seconds = [await _seconds(words, log) for words in (words, *loops)]
                ratios.append(min(seconds[1:]) / seconds[0])
    verdict.at_least(f"times a loop, median of {PAIRS} pairs", statistics.median(ratios), 0.9, "{:.2f}")
    return verdict


async def _seconds(words: list[str], log: Path) -> float:
    """Run a program; return its duration in seconds, with its start."""
    began = time.monotonic()
    async with Command.running(words, log) as command:
        if code := await command.ended():
            raise RuntimeError(f"exit code {code}, see {log}")
    return time.monotonic() - began
