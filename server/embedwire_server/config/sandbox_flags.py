"""Command-line flags of the stand-alone sandbox, for argparse."""

import argparse
from collections.abc import Callable
from math import inf
from typing import Any


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError("it has to be a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < inf:
        raise argparse.ArgumentTypeError("it has to be a number of seconds, 0 or more")
    return seconds


_OPTIONS: tuple[tuple[str, Callable[[str], Any] | None, str, str], ...] = (
    ("task_polls", _count, "N", "polls that find a task processing"),
    ("task_seconds", _seconds, "SECONDS", "shortest time for which a task is processing"),
    ("task_expiry_sec", _seconds, "SECONDS", "time after which a task is unknown"),
    ("task_failure", None, "MESSAGE", "let every task fail with this message"),
    ("asset_polls", _count, "N", "polls that find an asset processing"),
    ("asset_seconds", _seconds, "SECONDS", "shortest time for which an asset is processing"),
    ("disable_v1", None, "", "respond to the v1 dialect with 404"),
    ("disable_v2", None, "", "respond to the v2 dialect, its tasks and assets with 404"),
)


def _flag(name: str) -> str:
    return f"--{name.removesuffix('_sec').replace('_', '-')}"


FLAGS = frozenset(_flag(name) for name, *_ in _OPTIONS)


def add_all(command: argparse.ArgumentParser) -> None:
    """Add a flag for each option of the sandbox that the command has; those that are not given keep its defaults."""
    for name, kind, metavar, text in _OPTIONS:
        options: dict[str, Any] = {"metavar": metavar, "type": kind or str} if metavar else {"action": "store_true"}
        command.add_argument(_flag(name), dest=name, default=argparse.SUPPRESS, help=text, **options)


def values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags that were given, by the names of the sandbox's options."""
    names = {name for name, *_ in _OPTIONS}
    return {name: value for name, value in vars(arguments).items() if name in names}
