"""Rows of the benchmark, by name: what each is held to, and how it is measured."""

import dataclasses
import statistics
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """What a figure is held to: the target must be met, the goal is hoped for.

    Attributes:
        at_most: whether less is better.
    """

    name: str
    target: float
    goal: float
    at_most: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        rounds: the numbers of each figure, round by round.
        notes: what belongs to them: rates, upstream requests for each call, CPU.
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
    """A row by its number and its name."""

    number: int
    name: str
    bounds: tuple[Bound, ...]
    play: Play

    @property
    def sentence(self) -> str:
        return (self.play.__doc__ or "").strip().partition("\n")[0]

    def figures(self, measured: Measured) -> list[Figure]:
        """Its figures; none of them has a number if nothing was measured."""
        rounds = measured.rounds or [()] * len(self.bounds)
        return [Figure(bound, numbers) for bound, numbers in zip(self.bounds, rounds, strict=True)]


ALL: dict[str, Row] = {}


def row(number: int, name: str, *bounds: Bound) -> Callable[[Play], Play]:
    """Add a function to the rows."""

    def add(play: Play) -> Play:
        ALL[name] = Row(number, name, bounds, play)
        return play

    return add
