"""Where the response to one request begins and ends on its connection.

aiohttp parses; this says what belongs to the response. The parser is given each head on its own, so that bytes behind
a body, which it would parse as another response, cannot spoil a response that is complete.
"""

import re

from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

# Far above what occurs: an upstream may send 102 as a heartbeat while it works.
MAX_INTERIM_RESPONSES = 256
MAX_HEAD_BYTES = 256 << 10
MAX_CHUNK_OVERHEAD = 1 << 20  # beyond one byte for each byte of the body: chunk sizes, extensions and trailers

_SWITCHING_PROTOCOLS, _OK = 101, 200
_BLANK_LINE = re.compile(rb"\n\r?\n")
_OVERLAP = 2  # all but the last byte of what the pattern matches
_CHUNKED_END = b"\r\n\r\n"


class ResponseFraming:
    """Splits what arrives into heads and body, counts it, and notices what is too much.

    Attributes:
        fault: why the response cannot be used; empty if it can.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._payload: StreamReader | None = None  # of the final response
        self._missing: int | None = None  # bytes of a body with Content-Length
        self._is_chunked = False
        self._has_excess = False
        self._heads = 0
        self._head_bytes = 0
        self._body_bytes = 0  # as they arrived
        self._last = b""  # the last bytes that arrived

    @property
    def is_complete(self) -> bool:
        """Whether the whole response has arrived."""
        return self._payload is not None and self._payload.is_eof()

    @property
    def is_exact(self) -> bool:
        """Whether no byte has arrived behind the response, provided that it is complete."""
        if self._payload is None or self._has_excess:
            return False
        return not self._is_chunked or (self._last.endswith(_CHUNKED_END) and self._last != b"\n" + _CHUNKED_END)

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the bytes that the parser gets next, and the rest. Bytes behind the response are dropped."""
        if self._payload is None:
            return self._split_head(data)
        self._last = (self._last + data[-5:])[-5:]
        self._body_bytes += len(data)
        if self._is_chunked and self._body_bytes > MAX_CHUNK_OVERHEAD + 2 * self._payload.total_bytes:
            self.fault = "it consists mostly of chunk sizes, extensions or trailers"
        if self._missing is None:
            return data, b""
        piece = data[: self._missing]
        self._has_excess = self._has_excess or len(piece) < len(data)
        self._missing -= len(piece)
        return piece, b""

    def accept(self, message: RawResponseMessage, payload: StreamReader) -> bool:
        """Take a head that was parsed; whether it is the one of the final response."""
        if self._payload is not None:
            self._has_excess = True
        elif message.code == _SWITCHING_PROTOCOLS:
            self.fault = "it switches to another protocol (status 101), which was not asked for"
        elif message.code >= _OK:
            self._payload = payload
            self._is_chunked = message.chunked and not payload.is_eof()
            length = message.headers.get("Content-Length")
            if payload.is_eof():
                self._missing = 0
            elif length is not None and not message.chunked:
                self._missing = int(length)
            return True
        return False

    def _split_head(self, data: bytes) -> tuple[bytes, bytes]:
        seen = self._last
        found = _BLANK_LINE.search(seen + data)
        size = len(data) if found is None else found.end() - len(seen)
        piece = data[:size]
        self._last = b"" if found else (seen + piece)[-_OVERLAP:]
        self._heads += found is not None
        self._head_bytes += size
        if self._heads > MAX_INTERIM_RESPONSES + 1:
            self.fault = f"it has more than {MAX_INTERIM_RESPONSES} interim responses (status 1xx)"
        elif self._head_bytes > MAX_HEAD_BYTES:
            self.fault = f"its headers and interim responses (status 1xx) are longer than {MAX_HEAD_BYTES >> 10} KiB"
        return piece, data[size:]
