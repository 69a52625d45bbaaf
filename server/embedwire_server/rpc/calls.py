"""What is known of the running call: its request id, its time, its outcome."""

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import math
import os
import re
import urllib.parse
from collections.abc import Callable, Collection, Iterable
from typing import Any

import grpc

from embedwire_server.access import Token
from embedwire_server.domain import Caller
from embedwire_server.errors import CallerStalled, DeadlineExceeded, GatewayError
from embedwire_server.metrics import OTHER_MODEL

Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"
AUTHORIZATION_KEY = "authorization"
HANGING_UP_SECONDS = 0.05
LONGEST_SECONDS = 7 * 24 * 3600.0  # timers of the event loop have an end

_TIMER_SECONDS = 0.001  # a timer of the event loop may fire so much early

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True)
class DefaultDeadlines:
    """Seconds that a call gets whose caller sets no deadline: the contract promises these figures."""

    text: float = 60.0
    audio: float = 600.0


NO_DEADLINES = DefaultDeadlines(math.inf, math.inf)


class Call:
    """One running call. Within its block, it takes no longer than its time, and no write takes longer than it may.

    One timer watches both. It looks at the write that is under way; most calls end before it looks.

    Args:
        request_id: see `request_id`.
        service: the full name.
        is_ours: whether it is EmbeddingService, and not health or reflection.
        remaining: seconds that the caller leaves; None if it set no deadline.
        defaults: the seconds that such a call gets.
        stall_timeout: the most seconds that one write may take.
        caller: who calls, a host or the name of a token, and its connection; shares capacity fairly with others.
        upstream_key: what the caller wrote into the metadata key of that name.
        authorization: the same.

    Attributes:
        deadline: a time of the event loop's clock.
        writing_since: the same, while a write is awaited.
        is_beginning: whether the first write is under way, also if it is no longer awaited.
        token: what the caller has shown.
        model: a name of the table, never what the caller wrote.
        reason: why it failed, or OK.
        cause: that of the failure, from its closed list, if it has one.
    """

    def __init__(  # noqa: PLR0913 - what is known of a call at its start
        self,
        request_id: str,
        service: str,
        remaining: float | None,
        defaults: DefaultDeadlines,
        stall_timeout: float,
        *,
        is_ours: bool,
        caller: Caller = ("", ""),
        upstream_key: str | bytes | None = None,
        authorization: str | bytes | None = None,
    ) -> None:
        self.request_id, self.service, self.is_ours = request_id, service, is_ours
        self.caller, self.upstream_key, self.authorization = caller, upstream_key, authorization
        self.token: Token | None = None
        self.model, self.reason, self.cause = OTHER_MODEL, "OK", ""
        self.writing_since: float | None = None
        self.is_beginning = False
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._defaults = defaults
        self._is_default = remaining is None
        self._stall_timeout = min(stall_timeout, LONGEST_SECONDS)
        self._failure: GatewayError | None = None
        self._task: asyncio.Task[Any] | None = None  # while the block is entered
        self._timer: asyncio.TimerHandle | None = None
        self.deadline = self._began + min(defaults.text if remaining is None else remaining, LONGEST_SECONDS)

    def authenticated(self, token: Token | None) -> None:
        """Set the caller by its token; None if the server has no tokens."""
        if token is not None:
            self.token, self.caller = token, (token.name, self.caller[1])

    def allow_for_audio(self) -> None:
        """Give a call without a deadline the longer default."""
        if self._is_default and self._failure is None:
            self.deadline = self._began + min(self._defaults.audio, LONGEST_SECONDS)
            self._look_later(self._loop.time())

    def end(self, failure: GatewayError) -> None:
        """Let the time be up now, wherever the call waits; `failure` is what its caller is told."""
        if self._failure is None and self._task is not None:
            self._failure = failure
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._look_later(self._began)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        """Everything within has ended.

        Raises:
            GatewayError: if that is why the block was left: what `end` was given, or DeadlineExceeded.
        """
        task, timer, self._task, self._timer = self._task, self._timer, None, None  # they refer to the call
        if timer is not None:
            timer.cancel()
        is_ended = self._failure is not None and task is not None and task.uncancel() == 0
        if is_ended and raised is asyncio.CancelledError:
            raise self._failure from None  # type: ignore[misc] # it is not None

    def _look_later(self, since: float) -> None:
        """Have the timer look when the time is up, or when a write that began at `since` has taken too long."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(self.deadline, since + self._stall_timeout), self._look)

    def _look(self) -> None:
        now = self._loop.time() + _TIMER_SECONDS
        since = now if self.writing_since is None else self.writing_since
        if now >= self.deadline:
            self.end(DeadlineExceeded())
        elif now - since >= self._stall_timeout:
            self.end(CallerStalled(self._stall_timeout))
        else:
            self._look_later(since)


class Running:
    """The calls under way, so that a drain can wait for them and end them."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, call: Call) -> None:
        """A call has begun."""
        self._calls.add(call)
        self._idle.clear()

    def discard(self, call: Call) -> None:
        """A call has ended, and its caller has been told."""
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()

    def end(self, failure: GatewayError, *, services: Collection[str] | None = None) -> None:
        """End all of them now with this failure, or only those of some services."""
        for call in self._calls:
            if services is None or call.service in services:
                call.end(failure)

    async def ended(self, seconds: float) -> bool:
        """Wait until there is none, at most so long; whether there is none."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        return self._idle.is_set()


current: contextvars.ContextVar[Call] = contextvars.ContextVar("embedwire_call")


def at_the_end(do: Callable[[], object]) -> None:
    """Do something once the running call's status has been sent, or its caller has gone.

    That is when gRPC calls back as well; but what is given to it holds the call, which holds it, and such circles
    wait for the garbage collector.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - every call runs in one
    task.add_done_callback(lambda _: do())


async def has_said_all() -> None:
    """Wait for as long as gRPC may need to say that the caller has left, and be cancelled then.

    A caller who leaves in the middle looks at first like one who has sent all that it wants to.
    """
    await asyncio.sleep(HANGING_UP_SECONDS)


def request_id(offered: str | bytes | None) -> str:
    """The caller's request id if it is one, else a new one: it goes into logs and trailers as it is."""
    if isinstance(offered, str) and _REQUEST_ID.fullmatch(offered):
        return offered
    return os.urandom(8).hex()


def single_values(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str | bytes]:
    """The value of each key.

    No value, b"", if there are several: a proxy in front may have looked at the other one.
    """
    values: dict[str, str | bytes] = {}
    for key, value in metadata:
        values[key] = b"" if key in values else value
    return values


@functools.lru_cache(1024)  # by connection
def caller_of(peer: str) -> Caller:
    """Host and connection from the name that gRPC gives a peer: ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000, unix:PATH."""
    kind, _, address = urllib.parse.unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind
    return host, peer
