"""Durations with units."""

import pytest

from embedwire_server.config.fields import duration_text
from tests.unit.config.support import faults, load


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172_800), ("7", 7), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration has a unit; a bare number is in seconds."""
    assert load(shutdown_grace_period=text).shutdown.grace_period == seconds


@pytest.mark.parametrize("text", ["30 s", "30S", "m", "1h-30m", "soon", "30sec"])
def test_invalid_durations(text: str) -> None:
    """An invalid duration is refused with a message that shows the format."""
    assert "such as 500ms, 30s, 2m or 1h" in faults(shutdown_grace_period=text)["shutdown_grace_period"]


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 1.0, 90.0, 120.0, 1800.0, 3600.0, 1e9, 12.345678, 0.00001])
def test_shown_durations_can_be_parsed(seconds: float) -> None:
    """Durations in the output of `config show` are valid in the file."""
    assert load(shutdown_grace_period=duration_text(seconds)).shutdown.grace_period == seconds
