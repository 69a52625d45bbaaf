"""Rows of the benchmark, by name: their bounds and their measurement."""

import dataclasses
import statistics
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """The bounds of a figure: the required target and the desired goal.

    Attributes:
        at_most: whether less is better.
    """

    name: str
    target: float
    goal: float
    at_most: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """The result of a measurement.

    Attributes:
        rounds: the numbers of each figure by round.
        notes: additional results: rates, upstream requests per call, CPU.
    """

    rounds: Sequence[Sequence[float]]
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One number and its bound; without rounds it could not be measured."""

    bound: Bound
    rounds: Sequence[float]

    @property
    def value(self) -> float | None:
        return statistics.median(self.rounds) if self.rounds else None

    @property
    def ok(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.bound.target if self.bound.at_most else self.value >= self.bound.target


Play = Callable[[Stage], Awaitable[Measured]]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row with its number and name."""

    number: int
    name: str
    bounds: tuple[Bound, ...]
    play: Play

    @property
    def sentence(self) -> str:
        return (self.play.__doc__ or "").strip().partition("\n")[0]

    def figures(self, measured: Measured) -> list[Figure]:
        """Return its figures, without numbers if nothing was measured."""
        rounds = measured.rounds or [()] * len(self.bounds)
        return [Figure(bound, numbers) for bound, numbers in zip(self.bounds, rounds, strict=True)]


ALL: dict[str, Row] = {}


def row(number: int, name: str, *bounds: Bound) -> Callable[[Play], Play]:
    """Register a function as a row."""

    def add(play: Play) -> Play:
        ALL[name] = Row(number, name, bounds, play)
        return play

    return add
