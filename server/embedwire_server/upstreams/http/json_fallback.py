"""Reads JSON with Python's own module, as the official SDK does: the reference for the faster readers.

It accepts more than the standard where that cannot change a value that is used: NaN and Infinity, control characters
in strings, integers of any length, half of a surrogate pair, and bytes in strings that are not UTF-8.
"""

import json
from typing import Any

_MAX_INTEGER_DIGITS = 300  # longer ones become a float: Python limits the digits of an int, and float64 ends at 1e308


def read(data: bytes | bytearray) -> Any:  # noqa: ANN401 - any JSON value
    """Parse one JSON document. Of a repeated member, the last one counts.

    Bytes that are not UTF-8 become the code points U+DC80 to U+DCFF.

    Raises:
        ValueError: it is not JSON, or nested deeper than the interpreter's stack.
    """
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_text(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse one JSON document that is already decoded; see `read`."""
    try:
        return _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


_JSON = json.JSONDecoder(strict=False, parse_int=_integer)
