"""Durations with units."""

import pytest

from embedwire_server.config.fields import duration_text
from tests.unit.config.support import faults, load


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172_800), ("7", 7), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration has a unit; a bare number is seconds."""
    assert load(shutdown_grace_period=text).shutdown.grace_period == seconds


@pytest.mark.parametrize("text", ["30 s", "30S", "m", "1h-30m", "soon", "30sec"])
def test_what_is_no_duration(text: str) -> None:
    """The message says how one is written."""
    assert "such as 500ms, 30s, 2m or 1h" in faults(shutdown_grace_period=text)["shutdown_grace_period"]


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 1.0, 90.0, 120.0, 1800.0, 3600.0, 1e9, 12.345678])
def test_a_duration_that_is_shown_can_be_read(seconds: float) -> None:
    """`config show` writes what the file may hold."""
    assert load(shutdown_grace_period=duration_text(seconds)).shutdown.grace_period == seconds
