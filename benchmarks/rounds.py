"""Comparison of subjects: one short burst of each per round, so that a slow minute affects all of them."""

import contextlib
import dataclasses
import statistics
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

GATEWAY = "gateway"
# Two processes of the same program differ by some percent during their lifetime, by the layout of their memory.
ROUNDS_OF_A_PROCESS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """The result of one burst.

    Attributes:
        rate: correct replies per second.
        asked: upstream requests per call; None without an upstream.
        upstream_cpu: CPU of the upstream, as a share of a core.
        load_cpu: CPU of the load, as a share of a core.
        cpu: seconds of CPU of the measured process for each call; None if it was not measured.
    """

    rate: float
    asked: float | None = None
    upstream_cpu: float = 0.0
    load_cpu: float = 0.0
    cpu: float | None = None


Subject = Callable[[float], Awaitable[Sample]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The samples of all subjects, by round."""

    samples: Mapping[str, list[Sample]]

    def ratios(self, one: str, other: str) -> list[float]:
        """Return the ratio of each round."""
        pairs = zip(self.samples[one], self.samples[other], strict=True)
        return [first.rate / second.rate for first, second in pairs]

    def rate(self, name: str) -> float:
        return statistics.median(sample.rate for sample in self.samples[name])

    def rates(self) -> dict[str, list[float]]:
        """Return the rates of all subjects by round."""
        return {name: [sample.rate for sample in samples] for name, samples in self.samples.items()}

    def notes(self, *names: str) -> list[str]:
        """Return a line for each subject, or for these."""
        return [self._note(name) for name in names or self.samples]

    def _note(self, name: str) -> str:
        samples = self.samples[name]
        asked = [sample.asked for sample in samples if sample.asked is not None]
        words = [f"{name} {self.rate(name):,.0f}/s"]
        if cpu := [sample.cpu for sample in samples if sample.cpu is not None]:
            words.append(f"CPU {statistics.median(cpu) * 1e6:,.0f} us a call")
        if asked:
            words.append(f"upstream requests ÷ calls {statistics.fmean(asked):.2f}")
            words.append(f"upstream CPU {statistics.fmean(sample.upstream_cpu for sample in samples):.2f}")
        words.append(f"load CPU {statistics.fmean(sample.load_cpu for sample in samples):.2f}")
        return ", ".join(words)


async def side_by_side(subjects: Mapping[str, Subject], rounds: int, seconds: float) -> Comparison:
    """Measure each subject in every round, after a warm-up burst of each; every other round is in reverse order."""
    for subject in subjects.values():
        await subject(seconds / 4)
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    for number in range(rounds):
        names = list(subjects)
        for name in names if number % 2 == 0 else reversed(names):
            samples[name].append(await subjects[name](seconds))
    return Comparison(samples)


async def with_restarts(
    subjects: Mapping[str, Callable[[], AbstractAsyncContextManager[Subject]]], rounds: int, seconds: float
) -> Comparison:
    """Measure subjects that differ little in the same way, but restart them after every two rounds."""
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    for first in range(0, rounds, ROUNDS_OF_A_PROCESS):
        async with contextlib.AsyncExitStack() as stack:
            started = {name: await stack.enter_async_context(start()) for name, start in subjects.items()}
            found = await side_by_side(started, min(ROUNDS_OF_A_PROCESS, rounds - first), seconds)
        for name, more in found.samples.items():
            samples[name] += more
    return Comparison(samples)
