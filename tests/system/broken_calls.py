"""Calls with arbitrary requests."""

import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc

from embedwire.async_stream import preserve_status
from tests.system.answers import good
from tests.system.callers import Callers, Outcome, closed_loop, explain, names
from tests.system.experiment import Experiment, guarantee
from tests.system.mutations import GOOD, arbitrary, disturbed
from tests.system.server import SERVICE, growth
from tests.system.verdict import Verdict

ALLOWED = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}


@guarantee("broken-calls")
async def anything_is_answered(experiment: Experiment) -> Verdict:
    """Arbitrary bytes and messages as requests get one of four codes, and memory is flat."""
    count = experiment.scaled(100_000, 4_000)
    codes: Counter[str] = Counter()
    memory: list[int] = []
    async with experiment.environment(good) as (_, server, callers):

        async def call(name: str) -> None:
            codes[await _mutated(callers, random.Random(f"{experiment.seed} {name}"), name)] += 1
            if codes.total() % (count // 20) == 0:
                memory.append(server.memory())

        await closed_loop(names(count), 24, call)
        fresh = [await callers.embed(name) for name in names(10, "fresh")]
        verdict = Verdict()
        verdict.exactly(f"of {count} ended otherwise", {code: codes[code] for code in set(codes) - ALLOWED}, {})
        verdict.at_least("OK", codes["OK"] / count, 0.05, "{:.0%}")
        verdict.at_least("refused", codes["INVALID_ARGUMENT"] / count, 0.05, "{:.0%}")
        most = experiment.scaled(8, 16)  # a few thousand calls are still warming it up
        verdict.at_most("MiB more memory", growth(memory), most, "{:.1f}")
        verdict.exactly("of 10 good calls OK", sum(one.code == "OK" for one in fresh), 10)
    return verdict


async def _mutated(callers: Callers, rng: random.Random, name: str) -> str:
    """Call one of the methods, or one that does not exist; return the code."""
    method = rng.choice([*GOOD, "CreateEmbedding", "CreateEmbedding"])
    messages = [_mutation(message, rng) for message in GOOD[method]]
    is_known = rng.random() > 0.01
    path = f"/{SERVICE}/{method}" if is_known else f"/{SERVICE}/{method}{rng.randrange(1000)}"
    outcome = Outcome(name, time.monotonic())
    made: Any = rng.choice(callers.channels).stream_stream(path)
    call = made(_each(messages), timeout=30)
    preserve_status(call)
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        explain(outcome, error)
    if is_known:  # grpcio answers for missing methods, outside the metrics
        callers.outcomes.append(outcome)
    return outcome.code


def _mutation(message: Any, rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        return bytes(message.SerializeToString())
    if kind < 0.6:
        return disturbed(message.SerializeToString(), rng)
    return bytes(arbitrary(type(message), rng).SerializeToString())


async def _each(messages: list[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message
