"""The running call: its request id, its caller, its outcome."""

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
from embedwire_server.observability.metrics import OTHER_MODEL
from embedwire_server.rpc.deadline import CallScope, DefaultDeadlines

Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"
AUTHORIZATION_KEY = "authorization"
HANGING_UP_SECONDS = 0.05

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Call(CallScope):
    """One running call, and what is known of it.

    Args:
        request_id: see `request_id`.
        service: the full name.
        is_ours: whether it is EmbeddingService, and not health or reflection.
        remaining: see `CallScope`, as `defaults` and `stall_timeout`.
        defaults: see there.
        stall_timeout: see there.
        caller: a host or the name of a token, and its connection; shares capacity fairly with others.
        upstream_key: what the caller wrote into the metadata key of that name.
        authorization: the same.

    Attributes:
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
        super().__init__(remaining, defaults, stall_timeout)
        self.request_id, self.service, self.is_ours = request_id, service, is_ours
        self.caller, self.upstream_key, self.authorization = caller, upstream_key, authorization
        self.token: Token | None = None
        self.model, self.reason, self.cause = OTHER_MODEL, "OK", ""

    def authenticated(self, token: Token | None) -> None:
        """Set the caller by its token; None if the server has no tokens."""
        if token is not None:
            self.token, self.caller = token, (token.name, self.caller[1])


current: contextvars.ContextVar[Call] = contextvars.ContextVar("embedwire_call")


def on_call_done(do: Callable[[], object]) -> None:
    """Do something once the running call's status has been sent, or its caller has gone.

    That is when gRPC calls back as well; but what is given to it holds the call, which holds it, and such circles
    wait for the garbage collector.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - every call runs in one
    task.add_done_callback(lambda _: do())


async def await_half_close() -> None:
    """Wait for as long as gRPC may need to say that the caller has left, and be cancelled then.

    A caller that leaves in the middle looks at first like one that has sent all that it wants to.
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
