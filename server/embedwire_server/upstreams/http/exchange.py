"""One HTTP exchange: the request, the response, and the facts that decide whether the request may be repeated."""

import dataclasses
from collections.abc import AsyncIterable
from typing import Protocol, Self

import httpx


class TlsRecordReceived(Exception):
    """The bytes that arrived instead of an HTTP response are a TLS record: the port requires TLS."""


@dataclasses.dataclass(slots=True, eq=False)
class Request:
    """HTTP request. Credentials and content appear in no repr.

    Attributes:
        url: target of the request.
        headers: all of them, as names and values; `Host` and, with a body, `Content-Length` are among them.
        body: all of it, or its pieces; a file is read while it is sent.
        method: in capital letters.
        endpoint: its path without identifiers, for metrics.
        is_creation: whether it creates something, so that it may not be repeated once it has been sent completely.
        has_trace_context: whether the trace context of the call is sent along.
    """

    url: httpx.URL
    headers: list[tuple[bytes, bytes]] = dataclasses.field(repr=False)
    body: bytes | AsyncIterable[bytes] = dataclasses.field(default=b"", repr=False)
    method: bytes = b"POST"
    endpoint: str = ""
    is_creation: bool = False
    has_trace_context: bool = True


class Response(Protocol):
    """HTTP response whose head has arrived."""

    @property
    def status(self) -> int:
        """Status of the final response."""
        ...

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values of the headers, as received."""
        ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes:
        """Return more of the body, as much as has arrived.

        Raises:
            httpx.TransportError: the response is not complete.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection, unless the response is complete."""
        ...


class Sender(Protocol):
    """Interface that sends requests."""

    async def send(self, request: Request, exchange: "Exchange") -> Response:
        """Send a request, and record its progress; return when the head of its response has arrived.

        Raises:
            httpx.TransportError: there is no response.
        """
        ...


@dataclasses.dataclass(slots=True, eq=False)
class Exchange:
    """Progress of one request.

    Attributes:
        needs_fresh: only a new connection may be used. All idle connections are closed then: one of them was stale,
            and the others are as old.
        needs_new: whether only a new connection may be used: the request is not repeated if an idle one turns out
            to be closed. Idle connections stay open.
        is_connected: whether the request got a connection.
        is_reused: whether that connection had carried a request before.
        is_accepted: whether a TCP connection was established, also if TLS failed on it.
        request_started: whether bytes of the request were written.
        is_sent: whether the whole request was written; `unsent_bytes` bytes of it may still have been in memory.
        is_answered: whether any byte of a response arrived.
        is_early: whether the head of the response arrived before the request had been sent completely.
        unsent_bytes: how many bytes were still in memory when the connection was closed.
        fault: why the response cannot be used; a text for callers.
    """

    needs_fresh: bool = False
    needs_new: bool = False
    is_connected: bool = False
    is_reused: bool = False
    is_accepted: bool = False
    request_started: bool = False
    is_sent: bool = False
    is_answered: bool = False
    is_early: bool = False
    unsent_bytes: int = 0
    fault: str = ""
