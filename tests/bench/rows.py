"""Rows of the benchmark, by name, and the figures that they give."""

import dataclasses
import statistics
from collections.abc import Awaitable, Callable, Sequence

from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and what it is held to.

    Attributes:
        value: the median of its rounds; None if it could not be measured.
        target: must be met.
        goal: is hoped for.
        at_most: whether less is better.
        spread: the least and the most of the rounds.
        notes: what belongs to it: rates, upstream requests per call, CPU.
    """

    name: str
    value: float | None
    target: float
    goal: float
    at_most: bool = False
    spread: tuple[float, float] | None = None
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, name: str, rounds: Sequence[float], target: float, goal: float, **more: object) -> "Figure":
        """From the figures of its rounds."""
        spread = (min(rounds), max(rounds))
        return cls(name, statistics.median(rounds), target, goal, spread=spread, **more)  # type: ignore[arg-type]

    @property
    def ok(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.target if self.at_most else self.value >= self.target

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "ok" if self.ok else "short"


Play = Callable[[Stage], Awaitable[list[Figure]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row by its number and its name, and how it is measured."""

    number: int
    name: str
    play: Play

    @property
    def sentence(self) -> str:
        return (self.play.__doc__ or "").strip().partition("\n")[0]


ALL: dict[str, Row] = {}


def row(number: int, name: str) -> Callable[[Play], Play]:
    """Add a function to the rows."""

    def add(play: Play) -> Play:
        ALL[name] = Row(number, name, play)
        return play

    return add
