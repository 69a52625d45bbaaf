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
from embedwire_server.errors import DeadlineExceeded, GatewayError
from embedwire_server.metrics import OTHER_MODEL

Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"
AUTHORIZATION_KEY = "authorization"
HANGING_UP_SECONDS = 0.05
LONGEST_SECONDS = 7 * 24 * 3600.0  # timers of the event loop have an end

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True)
class DefaultDeadlines:
    """Seconds that a call gets whose caller sets no deadline: the contract promises these figures."""

    text: float = 60.0
    audio: float = 600.0


NO_DEADLINES = DefaultDeadlines(math.inf, math.inf)


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
        self._failure: GatewayError | None = None
        self.at = self._began + min(defaults.text if remaining is None else remaining, LONGEST_SECONDS)

    def allow_for_audio(self) -> None:
        """Give a call without a deadline the longer default."""
        if self._is_default and self._failure is None:
            self._move(self._began + min(self._defaults.audio, LONGEST_SECONDS))

    def end(self, failure: GatewayError) -> None:
        """Let the time be up now, wherever the call waits; `failure` is what its caller is told."""
        if self._failure is None:
            self._failure = failure
            self._move(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        """Whatever waits within the block waits no longer than this."""
        self._timeout = asyncio.timeout_at(self.at)
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: object) -> None:
        """Everything within has ended.

        Raises:
            GatewayError: since the time was up, DeadlineExceeded unless somebody ended the call before.
        """
        timeout, self._timeout = self._timeout, None
        try:
            await timeout.__aexit__(*raised)  # type: ignore[union-attr, arg-type] # it was entered; they are what they are
        except TimeoutError:
            raise (self._failure or DeadlineExceeded()) from None

    def _move(self, at: float) -> None:
        self.at = at
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(at)


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """One running call, for metrics, log and trailers.

    `model` is a name of the table, never what the caller wrote. `upstream_key` is what the caller wrote.
    `caller` is who calls, a host or the name of a token, and its connection, for whoever shares things fairly; `token`
    is what it has shown. `service` is a full name; `is_ours` tells the calls of EmbeddingService from health and
    reflection. `cause` is that of the failure, from its closed list, if it has one.
    """

    request_id: str
    deadline: Deadline
    service: str
    is_ours: bool
    caller: Caller = ("", "")
    upstream_key: str | bytes | None = dataclasses.field(default=None, repr=False)
    authorization: str | bytes | None = dataclasses.field(default=None, repr=False)
    token: Token | None = None
    model: str = OTHER_MODEL
    reason: str = "OK"
    cause: str = ""

    def authenticated(self, token: Token | None) -> None:
        """It is known whose call it is; None if nobody has to say so."""
        if token is not None:
            self.token, self.caller = token, (token.name, self.caller[1])


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
                call.deadline.end(failure)

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


def only(metadata: Iterable[tuple[str, str | bytes]], key: str) -> str | bytes | None:
    """The value of a key; None if there is none.

    No value, b"", if there are several: a proxy in front may have looked at the other one.
    """
    first, *more = [*(value for name, value in metadata if name == key), None]
    return b"" if len(more) > 1 else first


@functools.lru_cache(1024)  # by connection
def caller_of(peer: str) -> Caller:
    """Host and connection from the name that gRPC gives a peer: ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000, unix:PATH."""
    kind, _, address = urllib.parse.unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind
    return host, peer
