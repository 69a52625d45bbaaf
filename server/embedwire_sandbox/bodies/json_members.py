"""Reads the members of a JSON object strictly: a wrong type, a missing or an unknown member is an error.

`null` counts as absent, since the official SDK sends it for an explicit `None`.
"""

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any

from embedwire_sandbox.errors import invalid, missing, unknown


class Members:
    """Members of one object.

    Args:
        value: The decoded object.
        path: Path of the object, for the messages; empty for the body.
    """

    def __init__(self, value: Mapping[str, Any], path: str = "") -> None:
        self._left = {name: item for name, item in value.items() if item is not None}
        self._nulls = {name for name, item in value.items() if item is None}
        self._known: set[str] = set()
        self._path = path

    def path(self, name: str) -> str:
        """Return the path of a member, such as `audio.start_sec`."""
        return f"{self._path}.{name}" if self._path else name

    def take(self, name: str) -> Any:  # noqa: ANN401
        """Return the value of a member, or `None`."""
        self._known.add(name)
        return self._left.pop(name, None)

    def string(self, name: str, allowed: Collection[str] | None = None) -> str | None:
        """Return a string, or `None`.

        Raises:
            RefusalError: It is no string, or not one of those allowed.
        """
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid(self.path(name), "It has to be a string.")
        self._check(name, value, allowed)
        return value

    def strings(self, name: str, allowed: Collection[str]) -> tuple[str, ...] | None:
        """Return a list of different strings, not empty, or `None`.

        Raises:
            RefusalError: It is anything else.
        """
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise invalid(self.path(name), "It has to be a list of strings that is not empty.")
        if len(set(value)) < len(value):
            raise invalid(self.path(name), "A value occurs twice.")
        for item in value:
            self._check(name, item, allowed)
        return tuple(value)

    def boolean(self, name: str) -> bool | None:
        """Return a boolean, or `None`.

        Raises:
            RefusalError: It is no boolean.
        """
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(self.path(name), "It has to be true or false.")
        return value

    def number(self, name: str) -> float | None:
        """Return a finite number, or `None`.

        Raises:
            RefusalError: It is anything else.
        """
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise invalid(self.path(name), "It has to be a number.")
        return float(value)

    def integer(self, name: str, allowed: Collection[int]) -> int | None:
        """Return an integer, or `None`.

        Raises:
            RefusalError: It is no integer, or not one of those allowed.
        """
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            shown = f"from {allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else f"of {sorted(allowed)}"
            raise invalid(self.path(name), f"It has to be an integer {shown}.")
        return value

    def object(self, name: str) -> "Members | None":
        """Return the members of an object, or `None`.

        Raises:
            RefusalError: It is no object.
        """
        value = self.take(name)
        return None if value is None else self._members(value, self.path(name))

    def objects(self, name: str) -> "list[Members] | None":
        """Return the members of each object of a list, or `None`.

        Raises:
            RefusalError: It is no list of objects.
        """
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise invalid(self.path(name), "It has to be a list.")
        return [self._members(item, f"{self.path(name)}[{index}]") for index, item in enumerate(value)]

    def required(self, name: str) -> None:
        """Check that a member that was not read yet is there.

        Raises:
            RefusalError: It is missing.
        """
        if name not in self._left:
            raise missing(self.path(name))

    def end(self) -> None:
        """Check that every member was read.

        Raises:
            RefusalError: There is a member that the API does not know.
        """
        for name in [*self._left, *sorted(self._nulls - self._known)]:
            raise unknown(self.path(name))

    def _members(self, value: Any, path: str) -> "Members":  # noqa: ANN401
        if not isinstance(value, dict):
            raise invalid(path, "It has to be an object.")
        return Members(value, path)

    def _check(self, name: str, value: str, allowed: Collection[str] | None) -> None:
        if allowed is not None and value not in allowed:
            raise invalid(self.path(name), f"You should use one of the following values: {', '.join(allowed)}.")
