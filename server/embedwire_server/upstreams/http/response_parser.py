"""HTTP/1.1 response parser, without I/O.

httptools (llhttp) parses heads and chunks. This module decides which bytes belong to the response: the parser is given
one head at a time, and nothing of a body of known length. So the result does not depend on how the bytes were split
into packets, and bytes behind a complete response do not affect it.
"""

import re

import httptools

# Far above what occurs: an upstream may send 102 as a heartbeat while it works.
MAX_INTERIM_RESPONSES = 256
MAX_HEAD_BYTES = 256 << 10
MAX_HEADERS = 1024
MAX_CHUNK_OVERHEAD = 1 << 20  # beyond one byte for each byte of the body: chunk sizes, extensions and trailers

_CONTINUE, _SWITCHING_PROTOCOLS, _OK = 100, 101, 200
_BODILESS = {204, 304}
_BLANK_LINE = re.compile(rb"\n\r?\n")
_OVERLAP = 2  # all but the last byte of what the pattern matches
_CHUNKED_END = b"\r\n\r\n"


class MalformedResponseError(Exception):
    """Received bytes that are not HTTP, or exceed a limit, which is then in `fault` of the parser."""


class ResponseParser:
    """Parses one final response, and skips the interim ones before it.

    Attributes:
        status: status of the final response; 0 until its head is complete.
        headers: headers of the final response, as received.
        is_complete: whether the whole response has arrived.
        fault: which limit was exceeded, as a text for callers; empty if none.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = False
        self.fault = ""
        parser = httptools.HttpResponseParser(self)
        self._parser: httptools.HttpResponseParser | None = parser  # until `close`
        # As other clients do: line ends without CR, and any character in the value of a header.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._body: list[bytes] = []
        self._keeps_alive = False
        self._is_chunked = False
        self._missing: int | None = None  # bytes of a body of known length
        self._has_excess = False
        self._heads = 0
        self._head_bytes = 0
        self._received = 0  # bytes of a chunked body, as they arrived
        self._decoded = 0
        self._last = b""  # the last bytes that arrived

    @property
    def is_reusable(self) -> bool:
        """Whether the connection can carry another request: the response is complete, and no byte is behind it."""
        if not (self.is_complete and self._keeps_alive) or self._has_excess:
            return False
        # A line end behind a chunked body is the only excess that the parser does not report.
        return not self._is_chunked or (self._last.endswith(_CHUNKED_END) and self._last != b"\n" + _CHUNKED_END)

    def feed(self, data: bytes) -> bytes:
        """Parse received bytes and return those of the body. Bytes behind the response are dropped.

        Raises:
            MalformedResponseError: they are not HTTP, or exceed a limit.
        """
        while not self.status and data:
            head, data = self._split_head(data)
            self._parse(head)
        if not data:
            pass
        elif self.is_complete:
            self._has_excess = True
        elif self._missing is not None:
            self._has_excess = len(data) > self._missing
            body = data[: self._missing]  # as it is: the parser of httptools would copy it
            self._missing -= len(body)
            self.is_complete = not self._missing
            return body
        else:
            self._last = (self._last + data[-5:])[-5:]
            self._received += len(data)
            self._parse(data)
        body = self._take()
        if self._is_chunked and self._received > MAX_CHUNK_OVERHEAD + 2 * self._decoded:
            self._fail("it consists mostly of chunk sizes, extensions or trailers")
        return body

    def close(self) -> None:
        """Release the parser of httptools, which refers to this object: the cycle would wait for garbage collection."""
        self._parser = None

    def finish(self) -> bool:
        """Handle the end of the connection; return whether the response is complete."""
        if self.status and not self._is_chunked and self._missing is None:
            self.is_complete = True
        return self.is_complete

    # Callbacks of httptools.

    def on_message_begin(self) -> None:
        """Reject a message behind the final response."""
        if self.is_complete:
            self._has_excess = True
            raise MalformedResponseError("bytes behind the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; drop a trailer."""
        if self.status:
            return
        if len(self.headers) == MAX_HEADERS:
            self._fail(f"it has more than {MAX_HEADERS} headers")
        self.headers.append((name.rstrip(b" \t"), value.rstrip(b" \t")))  # llhttp accepts spaces there

    def on_headers_complete(self) -> None:
        """Handle the end of a head."""
        parser = self._parser
        assert parser is not None  # noqa: S101 - it calls this
        status = parser.get_status_code()
        if status < _CONTINUE:
            self._fail("its status is less than 100")
        if status == _SWITCHING_PROTOCOLS:
            self._fail("it switches to another protocol (status 101), which was not requested")
        if status < _OK:
            self.headers.clear()
            return
        self.status = status
        self._keeps_alive = parser.should_keep_alive()
        if status in _BODILESS:
            self._missing = 0
            return
        for name, value in self.headers:
            if len(name) == len(b"content-length") and name.lower() == b"content-length":
                self._missing = int(value)
            elif len(name) == len(b"transfer-encoding") and name.lower() == b"transfer-encoding":
                self._is_chunked = value.lower().endswith(b"chunked")

    def on_body(self, data: bytes) -> None:
        """Store bytes of the body, decoded from chunks."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Handle the end of a message; one with a status 1xx is no final response."""
        self.is_complete = self.status > 0

    def _split_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the bytes up to the next blank line, and the rest."""
        seen = self._last
        found = _BLANK_LINE.search(seen + data if seen else data)
        size = len(data) if found is None else found.end() - len(seen)
        head = data[:size]
        self._last = b"" if found else (seen + head)[-_OVERLAP:]
        self._heads += found is not None
        self._head_bytes += size
        if self._heads > MAX_INTERIM_RESPONSES + 1:
            self._fail(f"it has more than {MAX_INTERIM_RESPONSES} interim responses (status 1xx)")
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(f"its headers and interim responses (status 1xx) are longer than {MAX_HEAD_BYTES >> 10} KiB")
        return head, data[size:]

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_complete or self.fault:
                raise MalformedResponseError(self.fault or "not HTTP") from error

    def _take(self) -> bytes:
        body = self._body
        if not body:
            return b""
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        if self._is_chunked:
            self._decoded += len(data)
        return data

    def _fail(self, fault: str) -> None:
        self.fault = fault
        raise MalformedResponseError(fault)
