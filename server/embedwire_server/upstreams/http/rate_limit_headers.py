"""Parses rate-limit headers: the seconds until a limit that is used up resets.

Facts: upstream API notes, sections 5.1 (headers) and 4.3 (messages). Where a header has several spellings in
the field, all are read: X-Ratelimit-*, X-RateLimit-Request-*, X-RateLimit-Duration-*, X-Rate-Limit-*, and
RateLimit-* and RateLimit of the IETF's drafts. Their values are parsed as those of Retry-After.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from embedwire_server.upstreams.http.retry_after import MAX_DELAY, NUMBER, clocks_of, seconds_until

RATE_LIMIT_HEADER = re.compile(r"(x-?)?rate-?limit|retry-after")

_FAMILIES = ("x-ratelimit", "x-ratelimit-request", "x-ratelimit-duration", "x-rate-limit", "ratelimit")
# Lower-case header names; `used_up` needs at least one of them.
REMAINING = frozenset(name.encode() for name in (*(f"{family}-remaining" for family in _FAMILIES), "ratelimit"))
_DRAFT_REMAINING = re.compile(r"(?:^|[;,\s])(?:r|remaining)=([^;,\s]+)")
_DRAFT_RESET = re.compile(r"(?:^|[;,\s])(?:t|reset)=([^;,\s]+)")
_IN_WORDS = re.compile(r"\b(?:after|in) ([0-9]{1,6}(?:\.[0-9]{1,6})?) ?s(?:ec(?:ond)?s?)?\b")
_TIME_IN_WORDS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})")


def limit_ends(headers: Mapping[str, str], message: str) -> float | None:
    """Return the seconds until the rate limit that was hit resets, from reset headers or the message; or None.

    Of several limits the one that is used up counts; if none is, the first that resets in the future.
    """
    clocks = clocks_of(headers)
    limits = [limit for limit in _limits(headers, clocks) if limit[1] > 0]
    used_up = [ends for remaining, ends in limits if remaining is not None and remaining <= 0]
    if used_up:
        return max(used_up)
    return limits[0][1] if limits else _from_message(message, clocks)


def used_up(headers: Mapping[str, str]) -> float:
    """Return the seconds until a used-up limit resets, from the headers of a success; 0 if none is."""
    limits = _limits(headers, clocks_of(headers))
    return max((ends for remaining, ends in limits if remaining is not None and remaining <= 0), default=0.0)


def quota(headers: Mapping[str, str]) -> tuple[float, float] | None:
    """Return what remains of the tightest limit that the headers report, and that limit; None without one.

    Tightest is the limit of which the smallest part remains. The headers of the IETF's newer drafts are not read: their
    limit is in another header.
    """
    found = [
        (remaining, limit)
        for family in _FAMILIES
        if (remaining := _count(headers.get(f"{family}-remaining", ""))) is not None
        and (limit := _count(headers.get(f"{family}-limit", "")))
    ]
    return min(found, key=lambda one: one[0] / one[1], default=None)


def _limits(headers: Mapping[str, str], clocks: Sequence[float]) -> Iterator[tuple[float | None, float]]:
    """Yield what remains of each limit and the seconds until it resets, for limits with a reset time."""
    for family in _FAMILIES:
        ends = seconds_until(headers.get(f"{family}-reset"), clocks)
        if ends is not None:
            yield _count(headers.get(f"{family}-remaining", "")), ends
    draft = headers.get("ratelimit", "")
    for policy in [draft] if "remaining=" in draft else draft.split(","):  # one limit by the older drafts, then several
        remaining, reset = _DRAFT_REMAINING.search(policy), _DRAFT_RESET.search(policy)
        if remaining and reset and (ends := seconds_until(reset[1], clocks)) is not None:
            yield _count(remaining[1]), ends


def _from_message(message: str, clocks: Sequence[float]) -> float | None:
    if found := _IN_WORDS.search(message):
        return min(float(found[1]), MAX_DELAY)
    found = _TIME_IN_WORDS.search(message)
    return seconds_until(found[0], clocks) if found else None


def _count(value: str) -> float | None:
    counts = [float(count) for part in value.split(",") if NUMBER.fullmatch(count := part.strip(' \t"'))]
    return min(counts, default=None)
