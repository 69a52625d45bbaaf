"""Durations on the command line, such as 30s and 1h, and in its output."""

import re

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LEAST, _MOST = 1.0, 30 * 86_400.0
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")


def parse(text: str) -> float:
    """Parse a duration of 1 second to 30 days, for instance 30s, 10m, 1.5h or 2d.

    Returns:
        The duration in seconds.

    Raises:
        BadParameter: it is none.
    """
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not _LEAST <= seconds <= _MOST:
        raise typer.BadParameter(f"must be a duration from 1s to 30d, such as 30s, 10m or 1h, got {text}")
    return seconds


def show(seconds: float) -> str:
    """Return a duration in at most two units, for instance "45 s", "12 min", "3 h 20 min" or "2 d 4 h"."""
    if seconds < 10:  # noqa: PLR2004 - one digit
        return f"{seconds:.1f} s"
    if round(seconds) < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
