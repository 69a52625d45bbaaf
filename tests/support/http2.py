"""Raw HTTP/2 frames, for callers that gRPC libraries cannot imitate."""

import asyncio
import contextlib
import dataclasses
import ssl
import struct
from collections.abc import AsyncGenerator, Iterator

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclasses.dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(data: bytes, *, compressed: bool = False) -> bytes:
    return struct.pack(">?I", compressed, len(data)) + data


def messages(data: bytes) -> Iterator[bytes]:
    """The messages of a stream's data, without compression."""
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        yield data[5:end]
        data = data[end:]


def call(path: str, stream: int, *more: tuple[str, str]) -> bytes:
    """The HEADERS frame of a call; all its fields are literal, without a dynamic table."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), *more]
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    return frame(HEADERS, block, flags=END_HEADERS, stream=stream)


def _text(text: str) -> bytes:
    size = len(text)
    if size < 127:
        return bytes([size]) + text.encode()
    head, size = bytearray([127]), size - 127
    while size >= 128:
        head.append(size % 128 + 128)
        size //= 128
    return bytes([*head, size]) + text.encode()


class Connection:
    """A connection that sends only the given frames, without automatic acknowledgements."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, target: str, *, settings: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> AsyncGenerator["Connection"]:
        """Connect and send the HTTP/2 preface."""
        async with tcp(target, tls) as (reader, writer):
            writer.write(PREFACE + frame(SETTINGS, settings) + frame(SETTINGS, flags=ACK))
            yield cls(reader, writer)

    async def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def next(self) -> Frame | None:
        """The next frame; None once the peer has closed."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    async def until(self, kind: int) -> Frame | None:
        """The next frame of this type; None if the connection ends before."""
        while (got := await self.next()) is not None and got.kind != kind:
            pass
        return got


class Sender:
    """Sends on stream 1 as fast as the flow-control windows allow, and acknowledges PINGs.

    Attributes:
        sent: bytes of data that were sent.
        windows: the initial windows of streams that the server has announced.
        received: the data of the response; it must fit into the initial window.
        is_ended: whether the server has ended the stream.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._initial = self._stream = self._whole = 65_535
        self._changed = asyncio.Event()
        self.sent = 0
        self.windows: list[int] = []
        self.received = b""
        self.is_ended = False

    async def send(self, data: bytes) -> None:
        """Send all of the data, or as much as the server reads before it ends the stream."""
        while data and not self.is_ended:
            if (size := min(len(data), self._stream, self._whole, 16_384)) <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            await self._connection.send(frame(DATA, data[:size], stream=1))
            data = data[size:]
            self._stream -= size
            self._whole -= size
            self.sent += size

    async def end(self) -> None:
        """End the request."""
        await self._connection.send(frame(DATA, flags=END_STREAM, stream=1))

    async def follow(self) -> None:
        """Read frames until the server ends the stream; run it concurrently with `send`."""
        while not self.is_ended and (got := await self._connection.next()) is not None:
            if got.kind == SETTINGS:
                for at in range(0, len(got.payload), 6):
                    name, value = struct.unpack_from(">HI", got.payload, at)
                    if name == INITIAL_WINDOW_SIZE:
                        self._stream += value - self._initial
                        self._initial = value
                        self.windows.append(value)
            elif got.kind == PING and not got.flags & ACK:
                await self._connection.send(frame(PING, got.payload, flags=ACK))
            elif got.kind == WINDOW_UPDATE and got.stream:
                self._stream += int.from_bytes(got.payload, "big")
            elif got.kind == WINDOW_UPDATE:
                self._whole += int.from_bytes(got.payload, "big")
            elif got.kind == DATA:
                self.received += got.payload
            self.is_ended = got.stream == 1 and (
                got.kind == RST_STREAM or bool(got.kind == HEADERS and got.flags & END_STREAM)
            )
            self._changed.set()
        self.is_ended = True
        self._changed.set()


@contextlib.asynccontextmanager
async def tcp(
    target: str, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
