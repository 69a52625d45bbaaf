"""What is known of the running call: its request id, its time, its outcome."""

import asyncio
import contextlib
import contextvars
import dataclasses
import re
import secrets
from collections.abc import AsyncGenerator

from embedwire_server.errors import DeadlineExceeded
from embedwire_server.metrics import OTHER_MODEL

REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"
_LONGEST_SECONDS = 7 * 24 * 3600.0  # timers of the event loop have an end

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True)
class DefaultDeadlines:
    """Seconds that a call gets whose caller sets no deadline: the contract promises these figures."""

    text: float = 60.0
    audio: float = 600.0


class Deadline:
    """The time of one call: what its caller leaves it, or a default if the caller set no deadline.

    Args:
        remaining: seconds that the caller leaves; None if it set no deadline.
        defaults: what such a call gets.
    """

    def __init__(self, remaining: float | None, defaults: DefaultDeadlines) -> None:
        self._defaults = defaults
        self._is_default = remaining is None
        self._began = asyncio.get_running_loop().time()
        self._timeout: asyncio.Timeout | None = None
        self.at = self._began + min(defaults.text if remaining is None else remaining, _LONGEST_SECONDS)

    def allow_for_audio(self) -> None:
        """Give a call without a deadline the longer default."""
        if self._is_default:
            self.at = self._began + self._defaults.audio
            if self._timeout is not None:
                self._timeout.reschedule(self.at)

    @contextlib.asynccontextmanager
    async def enforced(self) -> AsyncGenerator[None]:
        """Whatever waits within the block waits no longer than this.

        Raises:
            DeadlineExceeded: the time is up; everything within has been cancelled and has ended.
        """
        try:
            async with asyncio.timeout_at(self.at) as self._timeout:
                yield
        except TimeoutError:
            if self._timeout is not None and self._timeout.expired():
                raise DeadlineExceeded from None
            raise


@dataclasses.dataclass(slots=True)
class Call:
    """One running call, for metrics, log and trailers.

    `model` is a name of the table, never what the caller wrote. `upstream_key` is what the caller wrote.
    """

    request_id: str
    deadline: Deadline
    upstream_key: str | bytes | None = dataclasses.field(default=None, repr=False)
    model: str = OTHER_MODEL
    reason: str = "OK"


current: contextvars.ContextVar[Call] = contextvars.ContextVar("embedwire_call")


def request_id(offered: str | bytes | None) -> str:
    """The caller's request id if it is one, else a new one: it goes into logs and trailers as it is."""
    if isinstance(offered, str) and _REQUEST_ID.fullmatch(offered):
        return offered
    return secrets.token_hex(8)
