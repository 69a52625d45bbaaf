"""Values of callers do not become metric labels."""

import random
from typing import Any

import grpc

from embedwire_server.observability.metrics import MAX_SERIES
from tests.support.messages import request, text_input
from tests.system.answers import good
from tests.system.callers import Callers, closed_loop, names
from tests.system.experiment import Experiment, guarantee
from tests.system.server import SERVICE
from tests.system.verdict import Verdict

_SCRIPTS = 'abc é ж 漢 \u202e \U0001f600 " \\ {} = , % \t'


@guarantee("label-cardinality")
async def names_do_not_become_series(experiment: Experiment) -> Verdict:
    """The number of series is bounded for any number of models, methods, agents and metadata that callers send."""
    count = experiment.scaled(100_000, 2_000)
    async with experiment.environment(good, callers=0, auth_allow_caller_api_keys=True) as (_, server, all_callers):
        for group in range(10):
            agent = ("grpc.primary_user_agent", f"agent-{experiment.seed}-{group}")
            async with Callers.connected(server.target, 2, agent) as callers:
                await closed_loop(names(count // 10, f"{group}"), 16, lambda name, it=callers: _called(it, name))  # type: ignore[misc]
            all_callers.outcomes += callers.outcomes
        samples = [line for line in (await server.metrics()).splitlines() if not line.startswith("#")]
        verdict = Verdict()
        verdict.at_least("calls", len(all_callers.outcomes), count * 0.8)
        verdict.at_most("series", len(samples), MAX_SERIES)
    return verdict


async def _called(callers: Callers, name: str) -> None:
    """Call a method with a model and metadata that were never used before."""
    rng = random.Random(name)
    word = "".join(rng.choices(_SCRIPTS, k=rng.randint(1, 40))) + name
    metadata: Any = (("x-request-id", name), (f"x-{name}", name), ("x-upstream-api-key", name))
    kind = rng.random()
    if kind < 0.1:
        call: Any = callers.channels[0].unary_unary(f"/{SERVICE}/{name}" if kind < 0.05 else f"/{name}/Check")
        try:
            await call(b"", timeout=30)
        except grpc.aio.AioRpcError:
            return
    model = "marengo3.0" if kind < 0.3 else word
    await callers.embed(request(text_input(name, key=word), model=model), name=name, metadata=metadata)
