"""HTTP client of an upstream: sends one request, and maps failures; never retries."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import httpx

from embedwire_server.core.errors import GatewayError, RetrySafety, UpstreamFailure
from embedwire_server.core.failure_causes import PERMANENT, Cause
from embedwire_server.observability import trace_context
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http import connection_errors, json_fallback, rate_limit_headers
from embedwire_server.upstreams.http.exchange import Exchange, Request, Response, Sender
from embedwire_server.upstreams.http.response_body import (
    Body,
    Headers,
    ResponseBody,
    connection_failure,
    decoded_headers,
    unusable,
)

ANSWERED = frozenset({200, 201, 202, 203})  # the 2xx with a complete body; the official SDK reads every 2xx
# An attempt that is cancelled after this time without a connection counts as a failure to connect.
UNANSWERED_SECONDS = 1.0
MAX_JSON_BYTES = 4 << 20  # of a response that is read as a whole; a page of 50 assets has some 50 KB
# Sent by the sandbox only.
_SANDBOX_HEADER = b"embedwire-upstream"
# Identifier of the request at the upstream. Facts: upstream API notes, section 14.
_TRACE_HEADER = b"x-trace-id"
_TRACE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

# Builds the failure for an error response, from the part of its body that was read.
ErrorOf = Callable[[EmbedCall, httpx.Response, bytes], UpstreamFailure]


class HttpClient:
    """Sends requests to one upstream.

    Args:
        sender: sends the requests; the caller closes it.
        name: name of the upstream in results and metrics.

    Attributes:
        sender: as given; may be replaced before the first request.
    """

    def __init__(self, sender: Sender, name: str) -> None:
        self.sender = sender
        self._name = name
        self._large = asyncio.Lock()  # locked by the large response that is being decoded

    async def send(
        self, call: EmbedCall, request: Request, error: ErrorOf, accepted: frozenset[int] = ANSWERED
    ) -> Body:
        """Send a request; return the body of its response, which the caller closes.

        Args:
            call: the input; its statistics are updated.
            request: the request.
            error: maps every response whose status is not accepted.
            accepted: the statuses of a success.

        Raises:
            GatewayError: there is no response, or its status is not accepted.
        """
        exchange = Exchange(needs_fresh=call.needs_fresh_connection, needs_new=request.is_creation)
        if (trace := trace_context.current.get()) is not None and request.has_trace_context:
            request.headers.extend(trace.headers())
        response, headers = await self._exchange(call, request, exchange, accepted)
        body = ResponseBody(response, headers, exchange, call, self.other_turns)
        if response.status in accepted:
            return body
        try:
            raise self._failure(call, request, response, exchange, error, await body.head())
        finally:
            await body.close()

    async def other_turns(self) -> None:
        """Yield to other calls before the next piece of a large response: many small values take long to decode.

        One large response continues at a time. Otherwise, one iteration of the event loop would decode a piece of each.
        """
        async with self._large:
            await asyncio.sleep(0)

    @staticmethod
    def _failure(  # noqa: PLR0913, PLR0917 - the facts of one exchange
        call: EmbedCall, request: Request, response: Response, exchange: Exchange, error: ErrorOf, head: bytes
    ) -> GatewayError:
        """Build the failure for an error status."""
        status = response.status
        if request.url.scheme == "http" and connection_errors.requires_tls(status, head):
            return connection_failure(Cause.PLAINTEXT_TO_TLS_PORT)
        if status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            return connection_failure(Cause.PROXY_AUTHENTICATION)
        failure = error(call, httpx.Response(status, headers=decoded_headers(response)), head)
        # Some servers send 408 before they close an idle connection, which may happen while the request is sent.
        is_stale = status == httpx.codes.REQUEST_TIMEOUT and exchange.is_reused and failure.retry_delay is None
        if is_stale and not request.is_creation:
            failure.retry_safety = RetrySafety.FRESH
        return failure

    async def _exchange(
        self, call: EmbedCall, request: Request, exchange: Exchange, accepted: frozenset[int]
    ) -> tuple[Response, Headers]:
        """Send the request; return when the head of the response has arrived."""
        call.attempts += 1
        call.upstream, call.endpoint, call.exhausted_for, call.limits = self._name, request.endpoint, 0.0, ()
        started = time.perf_counter()
        try:
            response = await self.sender.send(request, exchange)
        except httpx.TransportError as error:
            if not exchange.request_started:
                call.attempts -= 1  # no byte of a request was sent
            if exchange.fault:
                raise unusable(exchange.fault) from error
            cause = _cause(error, exchange)
            raise connection_failure(
                cause, _retry_safety(request, exchange, cause), connection_errors.message_of(error, cause)
            ) from error
        except BaseException:  # cancelled, or the file could not be read
            if not exchange.is_connected and time.perf_counter() - started > UNANSWERED_SECONDS:
                call.stuck = Cause.TLS_TIMEOUT if exchange.is_accepted else Cause.CONNECT_TIMEOUT
            if not exchange.is_sent or exchange.unsent_bytes:
                call.attempts -= 1  # the upstream cannot act on a request that it does not have completely
            raise
        finally:
            call.waiting += time.perf_counter() - started
        headers = {name.lower(): value for name, value in response.headers}
        if headers.get(_SANDBOX_HEADER) == b"sandbox":
            call.upstream = "sandbox"
        call.upstream_trace_id = _trace_id(headers.get(_TRACE_HEADER, b""), request)
        if not rate_limit_headers.REMAINING.isdisjoint(headers):
            call.limits = rate_limit_headers.limits_of(decoded_headers(response))
            call.exhausted_for = rate_limit_headers.used_up(call.limits)
        if response.status in accepted and exchange.is_early:
            await response.aclose()
            raise unusable("it is a success, which arrived before the request was sent completely")
        return response, headers


def _trace_id(value: bytes, request: Request) -> str:
    """Return the upstream's identifier of a request; empty if it is malformed, or a part of the request's headers.

    An upstream that returns a credential in this header must not bring it into the log.
    """
    if not _TRACE_ID.fullmatch(value) or any(value in sent for _, sent in request.headers):
        return ""
    return value.decode()


def _cause(error: httpx.TransportError, exchange: Exchange) -> Cause:
    cause = connection_errors.cause_of(error)
    return Cause.TLS_TIMEOUT if cause is Cause.CONNECT_TIMEOUT and exchange.is_accepted else cause


def _retry_safety(request: Request, exchange: Exchange, cause: Cause) -> RetrySafety:
    """Return whether a request without a response may be sent again: the closed list in docs/reliability.md."""
    if cause in PERMANENT or exchange.is_answered:
        return RetrySafety.UNSAFE
    if cause is Cause.TLS_TIMEOUT:  # most likely a port without TLS, possibly an overloaded server
        return RetrySafety.ONCE
    if exchange.is_reused and not (request.is_creation and exchange.is_sent):
        return RetrySafety.FRESH
    return RetrySafety.UNSAFE if exchange.is_sent else RetrySafety.SAFE


async def read_json(body: Body) -> Any:  # noqa: ANN401 - any JSON value
    """Read and parse a small response, and close it.

    Raises:
        UpstreamFailure: it is incomplete, larger than `MAX_JSON_BYTES`, or no JSON.
    """
    data = bytearray()
    try:
        while chunk := await body.chunk():
            data += chunk
            if len(data) > MAX_JSON_BYTES:
                raise unusable(f"it is larger than {MAX_JSON_BYTES} bytes")
    finally:
        await body.close()
    try:
        return json_fallback.read(data)
    except ValueError:
        raise unusable("it is not valid JSON") from None
