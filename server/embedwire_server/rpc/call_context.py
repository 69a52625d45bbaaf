"""Call context: request id, caller and outcome of the running call."""

import asyncio
import contextvars
import functools
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from embedwire_server.auth.tokens import Token
from embedwire_server.core.inputs import Caller
from embedwire_server.core.totals import Totals
from embedwire_server.observability.metrics import OTHER_MODEL
from embedwire_server.rpc.deadline import CallScope, DefaultDeadlines

Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"
AUTHORIZATION_KEY = "authorization"
UPSTREAM_NAME_KEY = "embedwire-upstream"
ATTEMPTS_KEY = "embedwire-attempts"
CACHE_KEY = "embedwire-cache"
# In milliseconds, in the format of W3C Server Timing.
TIMING_KEY = "server-timing"
HALF_CLOSE_SECONDS = 0.05

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Call(CallScope):
    """The context of one running call.

    Args:
        request_id: the caller's request id, or a generated one; see `request_id`.
        service: the full name of the service.
        is_ours: whether it is EmbeddingService, and not health or reflection.
        remaining: seconds until the caller's deadline; None if it set none.
        defaults: the deadlines of calls whose caller sets none.
        stall_timeout: the most seconds that one write may take.
        caller: the host or the token's name, and the connection; the unit of fair sharing.
        upstream_key: the metadata value of `UPSTREAM_KEY`, as received.
        authorization: the metadata value of `AUTHORIZATION_KEY`, as received.

    Attributes:
        token: the token that the caller has authenticated with, if any.
        model: a name of the model table or `OTHER_MODEL`, never the caller's text.
        count_received: called for each message that has arrived.
        count_sent: called for each message that is sent.
        reason: the reason of the failure, or OK.
        cause: the cause of the failure, from its closed list; empty if it has none.
        task_id: identifier of the upstream's task, if the call has one input; else empty.
        totals: what its inputs have used so far.
        upstream: name of the configured upstream, for the trailers.
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
        super().__init__(remaining, defaults, stall_timeout)
        self.request_id, self.service, self.is_ours = request_id, service, is_ours
        self.caller, self.upstream_key, self.authorization = caller, upstream_key, authorization
        self.token: Token | None = None
        self.count_received: Callable[[], object] = _ignore
        self.count_sent: Callable[[], object] = _ignore
        self.model, self.reason, self.cause = OTHER_MODEL, "OK", ""
        self.task_id, self.upstream = "", ""
        self.totals = Totals()

    def authenticated(self, token: Token | None) -> None:
        """Set the caller from its token; None if the server has no tokens."""
        if token is not None:
            self.token, self.caller = token, (token.name, self.caller[1])

    def trailers(self) -> tuple[tuple[str, str], ...]:
        """Return the trailers of every call: request id and upstream.

        Those of EmbeddingService also have times and attempts, and the cache status of inputs that have one.
        """
        found: tuple[tuple[str, str], ...] = ((REQUEST_ID_KEY, self.request_id), (UPSTREAM_NAME_KEY, self.upstream))
        if not self.is_ours:
            return found
        totals = self.totals
        timing = (
            f"queue;dur={totals.queue * 1e3:.3f}, upload;dur={totals.upload * 1e3:.3f}, "
            f"upstream;dur={totals.upstream * 1e3:.3f}, decode;dur={totals.decode * 1e3:.3f}"
        )
        found = (*found, (TIMING_KEY, timing), (ATTEMPTS_KEY, str(totals.attempts)))
        return (*found, (CACHE_KEY, totals.cache_text)) if totals.cache else found


def _ignore() -> None:
    """Count nothing: the call has no metrics."""


current: contextvars.ContextVar[Call] = contextvars.ContextVar("embedwire_call")


def on_call_done(do: Callable[[], object]) -> None:
    """Call a function once the status of the running call has been sent, or its caller has disconnected.

    gRPC's own done callbacks run at the same time, but gRPC's call object holds them, and they would refer to it: such
    reference cycles wait for the garbage collector.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - every call runs in one
    task.add_done_callback(lambda _: do())


async def await_half_close() -> None:
    """Give gRPC time to report that the caller has disconnected; the task is cancelled then.

    A disconnect in the middle of a stream is first reported like a half-close.
    """
    await asyncio.sleep(HALF_CLOSE_SECONDS)


def request_id(offered: str | bytes | None) -> str:
    """Return the caller's request id if it is valid, else a new one. Logs and trailers contain it unchanged."""
    if isinstance(offered, str) and _REQUEST_ID.fullmatch(offered):
        return offered
    return os.urandom(8).hex()


def single_values(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str | bytes]:
    """Return the value of each metadata key.

    A repeated key has the value b"": a proxy in front may have checked another of its values.
    """
    values: dict[str, str | bytes] = {}
    for key, value in metadata:
        values[key] = b"" if key in values else value
    return values


@functools.lru_cache(1024)  # by connection
def caller_of(peer: str) -> Caller:
    """Parse gRPC's peer name (ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000, unix:PATH) into host and connection."""
    kind, _, address = urllib.parse.unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind
    return host, peer
