"""What a reply tells of the upstream's rate limits: when the next request makes sense.

Facts: upstream API notes, sections 5.1 (headers) and 4.3 (words). Where a header has several spellings in
the field, all are read: X-Ratelimit-*, X-RateLimit-Request-*, X-RateLimit-Duration-*, X-Rate-Limit-*, and
RateLimit-* and RateLimit of the IETF's drafts. A reset is an epoch if it is too large for a duration.
"""

import datetime as dt
import email.utils
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

RATE_LIMIT_HEADER = re.compile(r"(x-?)?rate-?limit|retry-after")

_FAMILIES = ("x-ratelimit", "x-ratelimit-request", "x-ratelimit-duration", "x-rate-limit", "ratelimit")
_REMAINING = frozenset((*(f"{family}-remaining" for family in _FAMILIES), "ratelimit"))
_DRAFT_REMAINING = re.compile(r"(?:^|[;,\s])(?:r|remaining)=([0-9]{1,12})")
_DRAFT_RESET = re.compile(r"(?:^|[;,\s])(?:t|reset)=([0-9]{1,12})")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)")
_DURATION = re.compile(r"\b(?:after|in) (\d{1,6}(?:\.\d{1,6})?) ?s(?:ec(?:ond)?s?)?\b")
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12


def delay(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Seconds to wait, as the upstream says it outright: Retry-After in both forms, details.retryAfter; or None."""
    now = dt.datetime.now(dt.UTC)
    said = headers.get("retry-after")
    hints = (_number(said), _until_date(said, now), _number(details.get("retryAfter")))
    return next((hint for hint in hints if hint is not None), None)


def limit_ends(headers: Mapping[str, str], message: str) -> float | None:
    """Seconds until the rate limit that was hit allows more, from reset headers or the words; or None.

    Of several limits the one that is used up counts; if none says so, the first that tells its end.
    """
    now = dt.datetime.now(dt.UTC)
    limits = [limit for limit in _limits(headers, now.timestamp()) if limit[1] > 0]
    used_up = [ends for remaining, ends in limits if remaining is not None and remaining <= 0]
    if used_up:
        return max(used_up)
    return limits[0][1] if limits else _from_words(message, now)


def used_up(headers: Mapping[str, str]) -> float:
    """Seconds for which nothing remains, by the headers of a reply that was good; 0 if something does."""
    if _REMAINING.isdisjoint(headers):  # the most common case
        return 0.0
    now = dt.datetime.now(dt.UTC).timestamp()
    return max(
        (ends for remaining, ends in _limits(headers, now) if remaining is not None and remaining <= 0), default=0
    )


def _limits(headers: Mapping[str, str], now: float) -> Iterator[tuple[float | None, float]]:
    """What remains of each limit and the seconds until it ends, for those that tell an end."""
    for family in _FAMILIES:
        ends = _seconds_until(_number(headers.get(f"{family}-reset")), now)
        if ends is not None:
            yield _number(headers.get(f"{family}-remaining")), ends
    draft = headers.get("ratelimit", "")
    for policy in [draft] if "remaining=" in draft else draft.split(","):  # one limit by the older drafts, then several
        remaining, reset = _DRAFT_REMAINING.search(policy), _DRAFT_RESET.search(policy)
        if remaining and reset:
            yield float(remaining[1]), float(reset[1])


def _seconds_until(reset: float | None, now: float) -> float | None:
    if reset is None or reset < _EPOCH_SECONDS:
        return reset
    return max(0.0, reset / (1000 if reset >= _EPOCH_MILLISECONDS else 1) - now)


def _from_words(message: str, now: dt.datetime) -> float | None:
    if found := _DURATION.search(message):
        return float(found[1])
    if found := _TIMESTAMP.search(message):
        try:
            return max(0.0, (dt.datetime.fromisoformat(found[0]) - now).total_seconds())
        except (ValueError, OverflowError):
            return None
    return None


def _number(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until_date(value: str | None, now: dt.datetime) -> float | None:
    """Seconds until a date. One that has passed is no hint: two clocks differ."""
    try:
        at = email.utils.parsedate_to_datetime(value or "")
        seconds = ((at if at.tzinfo else at.replace(tzinfo=dt.UTC)) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
