"""HTTP upstream: makes one attempt for one input; the innermost `Upstream`."""

import time

from embedwire_server.core.inputs import content_of
from embedwire_server.core.results import ReplySummary
from embedwire_server.upstreams.base import EmbedCall, Emit
from embedwire_server.upstreams.dialect import Dialect, MalformedReplyError
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.response_body import PIECE_BYTES, Body, unusable


class HttpUpstream:
    """Makes one request for each input.

    Args:
        client: sends the requests.
        dialect: the API of the upstream.
    """

    def __init__(self, client: HttpClient, dialect: Dialect) -> None:
        self._client = client
        self._dialect = dialect

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt; see `Upstream`."""
        content = content_of(call.input)
        request = self._dialect.encode(call, 0 if content is None else await content.ready())
        body = await self._client.send(call, request, self._dialect.error)
        try:
            return await self._read(call, body, emit)
        finally:
            await body.close()

    async def _read(self, call: EmbedCall, body: Body, emit: Emit) -> ReplySummary:
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
                    await self._client.other_turns()
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
