"""Errors and warnings about the configuration, each with its source."""

import dataclasses
import difflib
from collections.abc import Iterable

from embedwire_server.config.setting_table import PREFIX


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Configuration error, and its source: a flag, a variable, or a key of the file. `setting` names the setting."""

    source: str
    message: str
    setting: str = ""

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


class InvalidConfiguration(ValueError):
    """Invalid settings; `faults` lists every error."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "did you mean", if a known name is close; else an empty string."""
    candidates = {candidate.removeprefix(PREFIX): candidate for candidate in known}
    close = difflib.get_close_matches(name.removeprefix(PREFIX), candidates, 1, 0.75)
    return f"; did you mean {candidates[close[0]]}?" if close else ""
