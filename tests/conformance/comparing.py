"""Comparison of an expectation with an outcome, member by member."""

import re
from collections.abc import Iterator
from typing import Any

_SHORT = 60


def differences(expected: Any, actual: Any, where: str = "") -> Iterator[str]:
    """Return every difference as text.

    An object with one member that begins with $ is a pattern: {"$any": true}, {"$between": [least, most]},
    {"$contains": text}, {"$matches": regular expression}, {"$has": an object with some of the members, and
    perhaps "$without": names of those that must not be there}. Everything else is compared exactly, 1 and 1.0 alike.
    """
    if isinstance(expected, dict) and "$has" in expected and isinstance(actual, dict):
        some = {name: value for name, value in expected["$has"].items() if name != "$without"}
        yield from differences(some, {name: actual[name] for name in some.keys() & actual.keys()}, where)
        yield from (f"{where}.{name}: unexpected" for name in expected["$has"].get("$without", ()) if name in actual)
    elif isinstance(expected, dict) and len(expected) == 1 and next(iter(expected)).startswith("$"):
        if not _fits(*next(iter(expected.items())), actual):
            yield _differ(where, expected, actual)
    elif isinstance(expected, dict) and isinstance(actual, dict):
        yield from _in_members(expected, actual, where)
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{where}: expected {len(expected)} items, got {len(actual)}"
        for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from differences(one, other, f"{where}[{index}]")
    elif expected != actual or isinstance(expected, bool) is not isinstance(actual, bool):
        yield _differ(where, expected, actual)


def _in_members(expected: dict[str, Any], actual: dict[str, Any], where: str) -> Iterator[str]:
    for name in [*expected, *(name for name in actual if name not in expected)]:
        inner = f"{where}.{name}" if where else name
        if name not in actual:
            yield f"{inner}: missing"
        elif name not in expected:
            yield f"{inner}: unexpected"
        else:
            yield from differences(expected[name], actual[name], inner)


def _differ(where: str, expected: Any, actual: Any) -> str:
    return f"{where}: expected {_shown(expected)}, got {_shown(actual)}"


def _fits(kind: str, wanted: Any, actual: Any) -> bool:
    match kind:
        case "$any":
            return True
        case "$has":
            return False  # it is no object
        case "$between":
            is_number = isinstance(actual, int | float) and not isinstance(actual, bool)
            return is_number and wanted[0] <= actual <= wanted[1]
        case "$contains":
            return isinstance(actual, str) and wanted in actual
        case "$matches":
            return isinstance(actual, str) and re.fullmatch(wanted, actual, re.DOTALL) is not None
    raise ValueError(f"there is no pattern {kind}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT // 2]}…{text[-_SHORT // 2 :]}"
