"""HTTP upstream: makes one attempt for one input; the innermost `Upstream`."""

import asyncio
import time

import httpx

from embedwire_server.core.errors import GatewayError, RetrySafety
from embedwire_server.core.failure_causes import PERMANENT, Cause
from embedwire_server.core.inputs import content_of
from embedwire_server.core.results import ReplySummary
from embedwire_server.upstreams.base import EmbedCall, Emit
from embedwire_server.upstreams.dialect import Dialect, MalformedReplyError
from embedwire_server.upstreams.http import connection_errors, rate_limit_headers
from embedwire_server.upstreams.http.exchange import Exchange, Request, Response, Sender
from embedwire_server.upstreams.http.response_body import (
    PIECE_BYTES,
    Headers,
    ResponseBody,
    connection_failure,
    decoded_headers,
    unusable,
)

ANSWERED = frozenset({200, 201, 202, 203})  # the 2xx with a complete body; the official SDK reads every 2xx
# An attempt that is cancelled after this time without a connection counts as a failure to connect.
UNANSWERED_SECONDS = 1.0
# Sent by the sandbox only.
_SANDBOX_HEADER = b"embedwire-upstream"


class HttpUpstream:
    """Makes one request for each input.

    Args:
        sender: sends the requests; the caller closes it.
        dialect: the API of the upstream.
        name: name of the upstream in results and metrics.
    """

    def __init__(self, sender: Sender, dialect: Dialect, name: str) -> None:
        self._sender = sender
        self._dialect = dialect
        self._name = name
        self._large = asyncio.Lock()  # locked by the large response that is being decoded

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt; see `Upstream`."""
        content = content_of(call.input)
        request = self._dialect.encode(call, 0 if content is None else await content.ready())
        exchange = Exchange(needs_fresh=call.needs_fresh_connection)
        response, headers = await self._send(call, request, exchange)
        body = ResponseBody(response, headers, exchange, call, self._other_turns)
        try:
            if response.status not in ANSWERED:
                raise self._failure(call, request, response, exchange, await body.head())
            return await self._read(call, body, emit)
        finally:
            await body.close()

    async def _read(self, call: EmbedCall, body: "ResponseBody", emit: Emit) -> ReplySummary:
        """Emit the segments of a body as they are decoded."""
        parser = self._dialect.parser(call)
        chunk = await body.chunk()
        if len(chunk) == body.short_length:  # it has arrived in one piece
            started = time.perf_counter()
            reply = parser.whole(chunk)
            call.decode += time.perf_counter() - started
            if reply is not None:
                await emit(reply[0])
                return reply[1]
        while chunk:
            for start in range(0, len(chunk), PIECE_BYTES):
                if len(chunk) > PIECE_BYTES:
                    await self._other_turns()
                started = time.perf_counter()
                segments = parser.feed(chunk[start : start + PIECE_BYTES])
                call.decode += time.perf_counter() - started
                if segments:
                    await emit(segments)
                if parser.fault is not None:
                    raise unusable(str(parser.fault))
            chunk = await body.chunk()
        try:
            return parser.finish()
        except MalformedReplyError as error:
            raise unusable(str(error)) from None

    async def _other_turns(self) -> None:
        """Yield to other calls before the next piece of a large response: many small values take long to decode.

        One large response continues at a time. Otherwise, one iteration of the event loop would decode a piece of each.
        """
        async with self._large:
            await asyncio.sleep(0)

    def _failure(
        self, call: EmbedCall, request: Request, response: Response, exchange: Exchange, head: bytes
    ) -> GatewayError:
        """Build the failure for an error status."""
        status = response.status
        if request.url.scheme == "http" and connection_errors.requires_tls(status, head):
            return connection_failure(Cause.PLAINTEXT_TO_TLS_PORT)
        if status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            return connection_failure(Cause.PROXY_AUTHENTICATION)
        failure = self._dialect.error(call, httpx.Response(status, headers=decoded_headers(response)), head)
        # Some servers send 408 before they close an idle connection, which may happen while the request is sent.
        if status == httpx.codes.REQUEST_TIMEOUT and exchange.is_reused and failure.retry_delay is None:
            failure.retry_safety = RetrySafety.FRESH
        return failure

    async def _send(self, call: EmbedCall, request: Request, exchange: Exchange) -> tuple[Response, Headers]:
        """Send the request; return when the head of the response has arrived."""
        call.attempts += 1
        call.upstream, call.exhausted_for = self._name, 0.0
        started = time.perf_counter()
        try:
            response = await self._sender.send(request, exchange)
        except httpx.TransportError as error:
            if not exchange.request_started:
                call.attempts -= 1  # no byte of a request was sent
            if exchange.fault:
                raise unusable(exchange.fault) from error
            cause = _cause(error, exchange)
            raise connection_failure(
                cause, _retry_safety(exchange, cause), connection_errors.message_of(error, cause)
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
        if not rate_limit_headers.REMAINING.isdisjoint(headers):
            call.exhausted_for = rate_limit_headers.used_up(decoded_headers(response))
        if response.status in ANSWERED and exchange.is_early:
            await response.aclose()
            raise unusable("it is a success, which arrived before the request was sent completely")
        return response, headers


def _cause(error: httpx.TransportError, exchange: Exchange) -> Cause:
    cause = connection_errors.cause_of(error)
    return Cause.TLS_TIMEOUT if cause is Cause.CONNECT_TIMEOUT and exchange.is_accepted else cause


def _retry_safety(exchange: Exchange, cause: Cause) -> RetrySafety:
    """Return whether a request without a response may be sent again: the closed list in docs/reliability.md."""
    if cause in PERMANENT or exchange.is_answered:
        return RetrySafety.UNSAFE
    if cause is Cause.TLS_TIMEOUT:  # most likely a port without TLS, possibly an overloaded server
        return RetrySafety.ONCE
    if exchange.is_reused:
        return RetrySafety.FRESH
    return RetrySafety.UNSAFE if exchange.is_sent else RetrySafety.SAFE
