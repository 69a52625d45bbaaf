"""Options of a single call: `request_options`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from embedwire.options import MAX_RETRIES, MESSAGE_BYTES


class RequestOptions(TypedDict, total=False):
    """Options of a single call. Any other key is an error.

    Attributes:
        timeout_in_seconds: deadline of the call in seconds, including retries.
        max_retries: maximum number of retries after a transient failure; 0 means none. Without it the server's policy
            applies.
        chunk_size: size of upload chunks in bytes.
        additional_headers: may contain `x-request-id` only.
        additional_body_parameters: may contain `text_truncate` only.
    """

    timeout_in_seconds: float
    max_retries: int
    chunk_size: int
    additional_headers: Mapping[str, str]
    additional_body_parameters: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """Validated options. None means not given."""

    timeout: float | None = None
    max_retries: int | None = None
    chunk_bytes: int | None = None
    request_id: str | None = None
    text_truncate: str | None = None


def parse_options(given: Mapping[str, Any] | None) -> Options:
    """Validate the options of a call.

    Raises:
        ValueError: a key is unknown, or a value is invalid.
        TypeError: a value has the wrong type.
    """
    given = {} if given is None else given
    for name in given:
        if name not in RequestOptions.__annotations__:
            raise ValueError(f"request_options[{name!r}]: unknown option; use one of {_KNOWN}")
    return Options(
        _number(given, "timeout_in_seconds", lambda value: value >= 0, "0 or more"),
        _integer(given, "max_retries", 0, MAX_RETRIES),
        _integer(given, "chunk_size", 1, MESSAGE_BYTES),
        _single_value(given, "additional_headers", "x-request-id"),
        _single_value(given, "additional_body_parameters", "text_truncate"),
    )


_KNOWN = ", ".join(RequestOptions.__annotations__)


def _number(given: Mapping[str, Any], name: str, is_good: Callable[[float], bool], words: str) -> Any:  # noqa: ANN401
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"request_options[{name!r}]: must be a number, got {type(value).__name__}")
    if not is_good(value):
        raise ValueError(f"request_options[{name!r}]: must be {words}, got {value}")
    return value


def _integer(given: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    if isinstance(given.get(name), float):
        raise TypeError(f"request_options[{name!r}]: must be an int, got float")
    value: int | None = _number(given, name, lambda value: least <= value <= most, f"{least} to {most}")
    return value


def _single_value(given: Mapping[str, Any], name: str, allowed: str) -> str | None:
    """Return the value of the only key that a mapping may have; None if absent."""
    values = given.get(name) or {}
    if not isinstance(values, Mapping):
        raise TypeError(f"request_options[{name!r}]: must be a mapping, got {type(values).__name__}")
    found = {str(key).lower(): value for key, value in values.items()}
    for key in found:
        if key != allowed:
            raise ValueError(f"request_options[{name!r}][{key!r}]: cannot be sent; only {allowed!r} can")
    value = found.get(allowed)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"request_options[{name!r}][{allowed!r}]: must be a str, got {type(value).__name__}")
    return value
