"""The soak test."""

import dataclasses
import itertools

from tests.system.answers import chance, failing, slow
from tests.system.callers import Outcome, closed_loop, names
from tests.system.experiment import Experiment, guarantee, settled
from tests.system.server import MIB, growth
from tests.system.upstream import Answer, Asked, Ending
from tests.system.verdict import Verdict

WARM_UP = 0.25  # of the calls
CANCELLED, HELD = 0.5, 0.7  # of the calls; of those that are cancelled
_SLOW, _SLOWEST, _HANG = slow(0.005), slow(1.0), Answer("hang", [Ending.HANG])


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What happens to each call: a function of the seed and its name."""

    seed: int

    def script(self, asked: Asked) -> Answer:
        """Answer the upstream's request of a call."""
        return (_SLOWEST if asked.line.input.startswith("pool") else failing(0.1, self.seed, 400, self._held))(asked)

    def cancel_after(self, name: str) -> float | None:
        """Seconds after which the caller cancels its call; None if it does not."""
        most = 0.01 if self._is_held(name) else 0.04
        return most * chance(self.seed, "when", name) if self._is_cancelled(name) else None

    def _held(self, asked: Asked) -> Answer:
        return _HANG if self._is_held(asked.line.input) else _SLOW(asked)

    def _is_held(self, name: str) -> bool:
        """Whether the answer is held until the call is cancelled, so that however fast the server is, many are."""
        return self._is_cancelled(name) and chance(self.seed, "held", name) < HELD

    def _is_cancelled(self, name: str) -> bool:
        return name.startswith("call") and chance(self.seed, "cancel", name) < CANCELLED


@guarantee("soak")
async def nothing_grows(experiment: Experiment) -> Verdict:
    """After hundreds of thousands of calls, half of them cancelled and a tenth failing, no resource has grown."""
    count, plan = experiment.scaled(200_000, 6_000), _Plan(experiment.seed)
    async with experiment.environment(plan.script) as (_, server, callers):
        await closed_loop(names(200, "warm"), 16, callers.embed)
        await closed_loop(names(16, "pool"), 16, callers.embed)  # all together, so that each has opened a connection
        await settled(server)
        tasks, descriptors = await server.tasks(), server.descriptors()
        memory: list[tuple[int, int]] = []
        counter = itertools.count(1)

        async def call(name: str) -> Outcome:
            if (done := next(counter)) % (count // 100) == 0:
                memory.append((done, server.memory()))
            return await callers.embed(name, cancel_after=plan.cancel_after(name))

        await closed_loop(names(count), 16, call)
        await settled(server)
        verdict = Verdict()
        verdict.at_least(f"of {count} cancelled", callers.left, count / 4)
        slope = _slope([point for point in memory if point[0] > WARM_UP * count])
        if experiment.short:  # too few calls for a slope
            verdict.at_most("MiB more memory", growth([size for _, size in memory]), 2, "{:.2f}")
        else:
            verdict.at_most("MiB more memory for 100,000 calls", slope * 100_000 / MIB, 1, "{:.2f}")
        verdict.at_most("more descriptors", server.descriptors() - descriptors, 0)
        verdict.at_most("more tasks", await server.tasks() - tasks, 0)
    return verdict


def _slope(points: list[tuple[int, int]]) -> float:
    """Return bytes per call, by least squares."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return float(above / sum((x - mean_x) ** 2 for x, _ in points))
