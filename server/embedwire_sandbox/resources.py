"""Ids, times and pages of resources: tasks, assets, uploads."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from embedwire_sandbox.errors import invalid

_MAX_PAGE: Final = 50
_DEFAULT_PAGE: Final = 10


def new_id() -> str:
    """Return an id of 24 hexadecimal digits."""
    return secrets.token_hex(12)


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def written_time(time: datetime) -> str:
    """Return a time as the API writes it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page_of(items: Sequence[Any], query: Mapping[str, str]) -> tuple[Sequence[Any], dict[str, int]]:
    """Return the page that a query asks for, and the object `page_info`.

    Args:
        items: All items.
        query: Query of the request, with `page` from 1 and `page_limit` up to 50.

    Raises:
        RefusalError: A number is invalid.
    """
    page = _number(query, "page", 1, 1_000_000)
    limit = _number(query, "page_limit", _DEFAULT_PAGE, _MAX_PAGE)
    info = {
        "limit_per_page": limit,
        "page": page,
        "total_page": -(-len(items) // limit),
        "total_results": len(items),
    }
    return items[(page - 1) * limit : page * limit], info


def time_of(query: Mapping[str, str], name: str) -> datetime | None:
    """Return a time of a query in the RFC 3339 format, or `None`.

    Raises:
        RefusalError: It has another format.
    """
    if name not in query:
        return None
    try:
        time = datetime.fromisoformat(query[name])
    except ValueError:
        raise invalid(name, "It has to be a time in the RFC 3339 format.") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _number(query: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    text = query.get(name, str(default))
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0  # noqa: PLR2004
    if not 1 <= number <= maximum:
        raise invalid(name, f"It has to be an integer from 1 to {maximum}.")
    return number
