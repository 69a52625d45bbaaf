"""Parses Retry-After, and any other value that says when to send the next request.

A value may be a number of seconds, a duration with units (1m30s), a Unix time in seconds, milli-, micro- or
nanoseconds, an HTTP date or an ISO 8601 time. Times are compared with the `Date` of the same response, because the
local clock may be wrong. The longest quota of the API is per day, so a longer duration becomes a day, and a time that
is more than a day away is ignored, as is any other value that is not understood.
"""

import datetime as dt
import email.utils
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

MAX_DELAY = 86_400.0
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")

# A header that is sent twice arrives as one, joined with a comma; dates have a comma after their weekday.
_VALUE = re.compile(r"\s*((?:[A-Za-z]{3,9},)?[^,]+)")
_MAX_LENGTH = 256
_PART = r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(ms|us|ns|(?:day|hour|hr|minute|min|second|sec)s?|[dhms])"
_DURATION_PART = re.compile(_PART)
_DURATION = re.compile(rf"(?:pt)?(?:{_PART} ?)+")
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_ISO = re.compile(r"[0-9-]{8,10}[T ][0-9:.]+(?:Z|[+-][0-9:]+)?")
# Python's parser takes an unknown zone for UTC. A date without a zone is GMT, as in asctime's form.
_KNOWN_ZONE = re.compile(r"(?:[ 0-9](?:GMT|UTC?|Z)|[+-][0-9]{4}|[ECMP][SD]T|:[0-9]{2}(?: [0-9]{4})?)$")

_FIRST_UNIX_TIME = 1e9  # in 2001; no duration is that long
_LAST_UNIX_TIME = 1e11  # in seconds; a larger number has a smaller unit
_DECADES = 20 * 365 * 86_400.0  # a Unix time is never meant so far away, even if this machine's clock is wrong
_UNIX_UNITS = (1.0, 1e3, 1e6, 1e9)


def delay(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Return the seconds to wait, from Retry-After or details.retryAfter; None if neither names a future time."""
    clocks = clocks_of(headers)
    for value in (headers.get("retry-after"), details.get("retryAfter")):
        hint = MAX_DELAY if _is_endless(value, clocks) else seconds_until(value, clocks)
        if hint is not None:
            return hint
    return None


def clocks_of(headers: Mapping[str, str]) -> Sequence[float]:
    """Return candidates for the current Unix time, the more credible first: the sender's `Date`, the local clock."""
    local = time.time()
    date = _unix_time(headers.get("date", "").strip())
    return (local,) if date is None else (date, local)


def seconds_until(value: Any, clocks: Sequence[float]) -> float | None:  # noqa: ANN401 - any JSON value
    """Return the seconds from now that a value means, the most if it has several; None if none is understood."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_number(value, clocks)
    if not isinstance(value, str) or not value.isascii() or len(value) > _MAX_LENGTH:
        return None
    found = [_from_text(part.strip(' \t"'), clocks) for part in _VALUE.findall(value)]
    return max((seconds for seconds in found if seconds is not None), default=None)


def _from_text(text: str, clocks: Sequence[float]) -> float | None:
    if NUMBER.fullmatch(text):
        return _from_number(float(text), clocks)
    if _DURATION.fullmatch(lower := text.lower()):
        parts = _DURATION_PART.findall(lower)
        return min(sum(float(number) * (_UNITS.get(unit) or _UNITS[unit[0]]) for number, unit in parts), MAX_DELAY)
    moment = _unix_time(text)
    return None if moment is None else _until(moment, clocks)


def _from_number(number: float, clocks: Sequence[float]) -> float | None:
    """Read a number of seconds, or a Unix time if it is too large for one."""
    if 0 <= number < _FIRST_UNIX_TIME:
        return min(float(number), MAX_DELAY)
    unit = next((unit for unit in _UNIX_UNITS if 0 < number < unit * _LAST_UNIX_TIME), None)
    return None if unit is None else _until(number / unit, clocks)


def _is_endless(value: Any, clocks: Sequence[float]) -> bool:  # noqa: ANN401 - any JSON value
    """Whether this number means "never": more than any delay, and decades away from now as a Unix time."""
    if not isinstance(value, str) or len(value) > _MAX_LENGTH or not NUMBER.fullmatch(text := value.strip()):
        return False
    moments = [float(text) / unit for unit in _UNIX_UNITS]
    return moments[0] >= _FIRST_UNIX_TIME and all(abs(at - now) > _DECADES for at in moments for now in clocks)


def _until(moment: float, clocks: Sequence[float]) -> float | None:
    """Return the seconds until a Unix time by the first clock that puts it within a day; None if past."""
    distance = next((moment - now for now in clocks if abs(moment - now) <= MAX_DELAY), 0.0)
    return distance if distance > 0 else None


def _unix_time(text: str) -> float | None:
    """Return the Unix time of an HTTP or ISO 8601 date. A date without a zone is in UTC."""
    try:
        if _ISO.fullmatch(iso := text.upper()):
            moment = dt.datetime.fromisoformat(iso)
        elif _KNOWN_ZONE.search(text):
            moment = email.utils.parsedate_to_datetime(text)
        else:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
