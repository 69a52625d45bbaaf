"""The result of an experiment: figures and their bounds."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One number or fact, and whether it is within its bound."""

    text: str
    bound: str
    kept: bool


@dataclasses.dataclass(slots=True)
class Verdict:
    """The figures of one guarantee, which is kept if all of them are."""

    figures: list[Figure] = dataclasses.field(default_factory=list)

    @property
    def kept(self) -> bool:
        return bool(self.figures) and all(figure.kept for figure in self.figures)

    def at_least(self, what: str, value: float, bound: float, show: str = "{:g}") -> None:
        self._add(what, show.format(value), f"≥ {show.format(bound)}", kept=value >= bound)

    def at_most(self, what: str, value: float, bound: float, show: str = "{:g}") -> None:
        self._add(what, show.format(value), f"≤ {show.format(bound)}", kept=value <= bound)

    def exactly(self, what: str, value: object, bound: object) -> None:
        self._add(what, str(value), str(bound), kept=value == bound)

    def _add(self, what: str, value: str, bound: str, *, kept: bool) -> None:
        mark = "" if kept else "!"
        self.figures.append(Figure(f"{mark}{value} {what}", bound, kept))
