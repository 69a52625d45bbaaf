"""HTTP client that records a span for each request, by the conventions for HTTP; used only if tracing is on."""

from embedwire_server.core.errors import GatewayError, Reason
from embedwire_server.observability.tracing import Attributes, Span, Tracer
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.client import ANSWERED, ErrorOf, HttpClient
from embedwire_server.upstreams.http.exchange import Request, Sender
from embedwire_server.upstreams.http.response_body import Body, Headers

_DEFAULT_PORTS = {"http": 80, "https": 443}


class TracedHttpClient(HttpClient):
    """Sends requests as `HttpClient` does, each in a span, which ends with the body of the response.

    Requests outside of a trace, those of the cleanup job, have no span.

    Args:
        sender: sends the requests; the caller closes it.
        name: name of the upstream in results and metrics.
        tracer: starts the spans.
    """

    def __init__(self, sender: Sender, name: str, tracer: Tracer) -> None:
        super().__init__(sender, name)
        self._tracer = tracer

    async def send(
        self, call: EmbedCall, request: Request, error: ErrorOf, accepted: frozenset[int] = ANSWERED
    ) -> Body:
        """Send a request; see `HttpClient.send`."""
        if not self._tracer.is_recording:
            return await super().send(call, request, error, accepted)
        name = f"{request.method.decode()} {request.endpoint}"
        span = self._tracer.start(name, "client", _of_request(call, request))
        try:
            with span.active():
                body = await super().send(call, request, error, accepted)
        except GatewayError as failure:
            span.end(
                {} if failure.upstream is None else _of_response(call, failure.upstream.http_status), failure.reason
            )
            raise
        except BaseException:
            span.end({}, call.cancellation_reason)
            raise
        return _TracedBody(body, span, call, _of_response(call, body.status))


class _TracedBody:
    """Body of a response; ends the span once it has been read, or cannot be, or is closed."""

    def __init__(self, body: Body, span: Span, call: EmbedCall, attributes: Attributes) -> None:
        self._body = body
        self._call = call
        self._span = span
        self._attributes = attributes

    @property
    def status(self) -> int:
        return self._body.status

    @property
    def headers(self) -> Headers:
        return self._body.headers

    @property
    def short_length(self) -> int | None:
        return self._body.short_length

    async def chunk(self) -> bytes:
        try:
            chunk = await self._body.chunk()
        except GatewayError as failure:
            self._end(failure.reason)
            raise
        except BaseException:
            self._end(self._call.cancellation_reason)
            raise
        if not chunk:
            self._end()
        return chunk

    async def close(self) -> None:
        self._end()
        await self._body.close()

    def _end(self, reason: Reason | None = None) -> None:
        self._span.end(self._attributes, reason)


def _of_request(call: EmbedCall, request: Request) -> Attributes:
    # Without user info, which httpx keeps apart, and without the query, which may contain a signature.
    url, path = request.url, request.url.raw_path.partition(b"?")[0]
    known: dict[str, str | int | float] = {
        "http.request.method": request.method.decode(),
        "url.full": f"{url.scheme}://{url.netloc.decode()}{path.decode()}",
        "url.template": request.endpoint,
        "server.address": url.host,
        "server.port": url.port or _DEFAULT_PORTS[url.scheme],
    }
    if call.retries and request.method != b"GET":  # each poll is a request of its own
        known["http.request.resend_count"] = call.retries
    return known


def _of_response(call: EmbedCall, status: int) -> Attributes:
    known: dict[str, str | int | float] = {"http.response.status_code": status}
    if call.upstream_trace_id:
        known["embedwire.upstream_trace_id"] = call.upstream_trace_id
    return known
