"""Parsing of HTTP responses: the same result as h11 for the same bytes, however they are split."""

import dataclasses
import itertools

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedwire_server.upstreams.http.response_parser import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_INTERIM_RESPONSES,
    MalformedResponseError,
    ResponseParser,
)

Headers = list[tuple[bytes, bytes]]


@dataclasses.dataclass
class Outcome:
    """The result of parsing the bytes of one connection, up to its end."""

    status: int = 0
    headers: Headers = dataclasses.field(default_factory=list)
    body: bytes = b""
    is_complete: bool = False  # otherwise the response is truncated or malformed
    is_reusable: bool = False  # before the end of the connection

    @property
    def result(self) -> "Outcome | None":
        """The observable result: how far an incomplete response is parsed depends on the packets."""
        return self if self.is_complete else None


def parsed(pieces: list[bytes]) -> Outcome:
    """Parse with the server's parser."""
    parser, body = ResponseParser(), b""
    try:
        for piece in pieces:
            body += parser.feed(piece)
        is_reusable = parser.is_reusable
        is_complete = parser.is_complete or parser.finish()
    except MalformedResponseError:
        return Outcome()
    # As h11 reports them.
    lowered = [(name.lower(), value) for name, value in parser.headers]
    headers = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in lowered]
    return Outcome(parser.status, headers, body, is_complete, is_reusable)


def by_h11(data: bytes) -> Outcome:
    """Parse with h11, which the official SDK uses."""
    connection, outcome = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20), Outcome()
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    is_ended = False
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                outcome.status, outcome.headers = event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                outcome.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                outcome.is_complete = True
                outcome.is_reusable = (
                    not is_ended and connection.their_state is h11.DONE and not connection.trailing_data[0]
                )
                return outcome
            elif is_ended or event is h11.PAUSED:
                return outcome
            elif event is h11.NEED_DATA:
                connection.receive_data(b"")
                is_ended = True
    except h11.RemoteProtocolError:
        return Outcome()


names = st.sampled_from([b"X-A", b"content-type", b"Link", b"x_y", b"Content-Encoding", b"Server", b"Set-Cookie"])
values = st.binary(max_size=20).map(
    lambda value: bytes(byte for byte in value if 32 <= byte < 127 or byte > 160).strip()
)
lines = st.tuples(names, st.sampled_from([b":", b": ", b":\t ", b":  "]), values, st.sampled_from([b"", b" ", b"\t"]))
header_lines = st.lists(lines.map(b"".join), max_size=4)
reasons = st.sampled_from([b" OK", b"", b" ", b" Not \xe4 word", b" 200"])
interims = st.lists(st.sampled_from([b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 x"]), max_size=3)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A response in one of the valid framings, perhaps with bytes after it."""
    status = draw(st.sampled_from([b"200", b"201", b"204", b"304", b"400", b"429", b"503"]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    head = [b"HTTP/%b %b%b" % (version, status, draw(reasons)), *draw(header_lines)]
    body, framing = draw(st.binary(max_size=60)), draw(st.sampled_from(["length", "chunks", "end"]))
    if draw(st.booleans()):
        head.append(b"Connection: " + draw(st.sampled_from([b"close", b"keep-alive", b"Close", b"Keep-Alive, x"])))
    if framing == "length" or version == b"1.0":
        head.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks":
        head.append(b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"Chunked"])))
        body = draw(in_chunks(body))
    before = b"".join(b"HTTP/1.1 %b\r\nLink: x\r\n\r\n" % interim for interim in draw(interims))
    behind = draw(st.sampled_from([b"", b"", b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"]))
    return before + b"\r\n".join([*head, b"", b""]) + body + behind


@st.composite
def in_chunks(draw: st.DrawFn, body: bytes) -> bytes:
    size, data = draw(st.integers(1, 30)), b""
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        length = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(piece)
        data += length + draw(st.sampled_from([b"", b";a=b", b';a="b c"'])) + b"\r\n" + piece + b"\r\n"
    return data + b"0\r\n" + draw(st.sampled_from([b"", b"", b"X-Sum: 1\r\n"])) + b"\r\n"


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A response with some bytes replaced, removed or inserted."""
    data = bytearray(draw(responses()))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 3)))
        data[start:end] = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"\n", b":", b" ", b"0"])))
    return bytes(data)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    positions = sorted({0, len(data), *[cut % (len(data) + 1) for cut in cuts]})
    return [data[start:end] for start, end in itertools.pairwise(positions)]


cuts = st.lists(st.integers(0, 1 << 20), max_size=6)


@settings(max_examples=250, deadline=None)
@given(responses(), cuts)
def test_legal_responses_are_read_as_h11_reads_them(data: bytes, cuts: list[int]) -> None:
    """Status, headers, body, and the reusability of the connection are the same as with h11.

    h11 closes every connection of HTTP/1.0; here it is kept if the response allows it.
    """
    ours, reference = parsed(split(data, cuts)), by_h11(data)
    if b"HTTP/1.0" in data:
        reference.is_reusable = ours.is_reusable
    assert ours == reference


@settings(max_examples=250, deadline=None)
@given(responses(), st.integers(0, 1 << 20), cuts)
def test_a_response_that_is_cut_off_is_not_complete(data: bytes, end: int, cuts: list[int]) -> None:
    """A response truncated anywhere is complete if and only if it is for h11, and equal to it."""
    data = data[: end % (len(data) + 1)]
    ours, reference = parsed(split(data, cuts)), by_h11(data)
    if b"HTTP/1.0" in data:
        reference.is_reusable = ours.is_reusable
    assert ours.result == reference.result


@settings(max_examples=250, deadline=None)
@given(broken(), cuts)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\n", [])
def test_a_broken_response_is_no_other_one(data: bytes, cuts: list[int]) -> None:
    """A mutated response that both parsers accept is equal, and the result does not depend on the split."""
    ours, reference = parsed(split(data, cuts)), by_h11(data)
    whole, single = parsed([data]), parsed([data[at : at + 1] for at in range(len(data))])
    assert ours.result == whole.result == single.result
    if ours.is_complete and reference.is_complete:
        assert (ours.status, ours.body) == (reference.status, reference.body)
        assert reference.is_reusable or not ours.is_reusable or b"HTTP/1.0" in data


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 2), "interim responses"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * MAX_HEAD_BYTES, "KiB"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n", "headers"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", r"status 101"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * (1 << 20), "chunk sizes"),
        (b"HTTP/1.1 000 z\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "less than 100"),
    ],
    ids=["interim", "head", "headers", "switch", "chunks", "status"],
)
def test_limits(data: bytes, fault: str) -> None:
    """A response that exceeds a limit is refused with the name of the limit, in one piece and in many."""
    for size in (len(data), 1000, 17):
        parser = ResponseParser()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        with pytest.raises(MalformedResponseError, match=fault):
            b"".join(map(parser.feed, pieces))
        assert fault in parser.fault


@pytest.mark.parametrize("size", [1, 1000])
def test_a_space_before_the_colon(size: int) -> None:
    """A Content-Length with a space before its colon is respected, since httptools accepts it."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length : 7\r\n\r\n123"
    parser = ResponseParser()
    body = b"".join(parser.feed(data[start : start + size]) for start in range(0, len(data), size))
    assert (body, parser.finish()) == (b"123", False)
