"""The row of the latency of a single call."""

import json
import sys

from benchmarks import bodies
from benchmarks.processes import OTHER_CORE, running
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage

CALLS = 150


@row(4, "latency", Bound("p50 of a call ÷ direct POST by httpx", 1.0, 0.8, at_most=True))
async def latency(stage: Stage) -> Measured:
    """p50 of one text call, Python client, through the gateway, one at a time ÷ a direct POST by httpx, `files=`."""
    async with stage.gateway("text") as server:
        words = [server.target, stage.upstream.url("text"), bodies.MODEL, str(stage.rounds), str(CALLS)]
        command = [sys.executable, "-m", "benchmarks.one_caller", *words]
        async with running(command, stage.directory / "one_caller.log", OTHER_CORE) as caller:
            rounds = json.loads((await caller.written(r"\[\[.*\]\]", 120)).group())
        asked = await server.asked(others=(stage.rounds + 1) * CALLS)
    gateway, unary, direct = (sorted(column)[len(column) // 2] * 1e3 for column in zip(*rounds, strict=True))
    notes = [
        f"gateway {gateway:.2f} ms (unary {unary:.2f} ms), direct {direct:.2f} ms, its JSON not read",
        asked,
    ]
    return Measured([[one / other for one, _, other in rounds]], notes)
