"""Parses rate-limit headers: what remains of each limit, and the seconds until it resets.

Facts: upstream API notes, sections 5.1 (headers) and 4.3 (messages). Where a header has several spellings in
the field, all are read: X-Ratelimit-*, X-RateLimit-Request-*, X-RateLimit-Duration-*, X-Rate-Limit-*, and
RateLimit-* and RateLimit of the IETF's drafts. Their values are parsed as those of Retry-After.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from embedwire_server.upstreams.base import UpstreamLimit
from embedwire_server.upstreams.http.retry_after import MAX_DELAY, NUMBER, clocks_of, seconds_until

RATE_LIMIT_HEADER = re.compile(r"(x-?)?rate-?limit|retry-after")

MAX_LIMITS = 16  # the status page has a row for each
_FAMILIES = ("x-ratelimit", "x-ratelimit-request", "x-ratelimit-duration", "x-rate-limit", "ratelimit")
# Lower-case header names; `limits_of` needs at least one of them.
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
    limits = [limit for limit in _limits(headers, clocks) if limit.resets_in > 0]
    if ends := used_up(limits):
        return ends
    return limits[0].resets_in if limits else _from_message(message, clocks)


def limits_of(headers: Mapping[str, str]) -> tuple[UpstreamLimit, ...]:
    """Return the limits in the headers of a response that have a reset time; the first `MAX_LIMITS` of them."""
    return tuple(itertools.islice(_limits(headers, clocks_of(headers)), MAX_LIMITS))


def used_up(limits: Iterable[UpstreamLimit]) -> float:
    """Return the seconds until the last used-up limit resets; 0 if none is used up."""
    used = (limit.resets_in for limit in limits if limit.remaining is not None and limit.remaining <= 0)
    return max(used, default=0.0)


def _limits(headers: Mapping[str, str], clocks: Sequence[float]) -> Iterator[UpstreamLimit]:
    for family in _FAMILIES:
        ends = seconds_until(headers.get(f"{family}-reset"), clocks)
        if ends is not None:
            yield UpstreamLimit(
                family, _least(headers.get(f"{family}-limit", "")), _least(headers.get(f"{family}-remaining", "")), ends
            )
    draft = headers.get("ratelimit", "")
    for policy in [draft] if "remaining=" in draft else draft.split(","):  # one limit by the older drafts, then several
        remaining, reset = _DRAFT_REMAINING.search(policy), _DRAFT_RESET.search(policy)
        if remaining and reset and (ends := seconds_until(reset[1], clocks)) is not None:
            yield UpstreamLimit("ratelimit", None, _least(remaining[1]), ends)


def _from_message(message: str, clocks: Sequence[float]) -> float | None:
    if found := _IN_WORDS.search(message):
        return min(float(found[1]), MAX_DELAY)
    found = _TIME_IN_WORDS.search(message)
    return seconds_until(found[0], clocks) if found else None


def _least(value: str) -> float | None:
    counts = [float(count) for part in value.split(",") if NUMBER.fullmatch(count := part.strip(' \t"'))]
    return min(counts, default=None)
