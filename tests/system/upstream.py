"""A scriptable hostile upstream: enough of HTTP for `POST /embed`, at thousands of requests a second.

A script is asked for an answer to each request. An answer is a list of steps: bytes to send, seconds or a
future to wait for, or an ending. So a cut, a drip, a hang and a good reply are written in the same way.
"""

import asyncio
import contextlib
import dataclasses
import enum
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Union

from tests.system.journal import Journal, Line
from tests.system.proxy import reset_on_close


class Ending(enum.Enum):
    """The action after the last byte; without one the connection is kept."""

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


Step = Union[bytes, float, Ending, "asyncio.Future[None]"]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request; the journal records its label."""

    label: str
    steps: Sequence[Step]


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A request, as a script receives it."""

    line: Line
    head: bytes
    body: bytes

    def field(self, name: str) -> str:
        """Return a plain field of the form, or ""."""
        found = re.search(rb'name="%s"\r\n\r\n(.*?)\r\n--' % name.encode(), self.body, re.DOTALL)
        return found[1].decode(errors="replace") if found else ""


Script = Callable[[Asked], Answer]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_INPUT = re.compile(
    rb'name="(?:(text)|(image|audio)_(?:url|file))"(?:; filename="([^"]*)"[^\r]*\r\n[^\r]*)?\r\n\r\n(.{0,200})',
    re.DOTALL,
)


class Upstream:
    """Answers by its script, which may be replaced at any time, and keeps a journal."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.journal = Journal()
        self.open: set[_Connection] = set()
        self.base_url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Upstream"]:
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in list(self.open):
                connection.transport.abort()

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._number = upstream.journal.connections = upstream.journal.connections + 1
        self._received = b""
        self._line: Line | None = None
        self._later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # a stream's
        self._upstream.open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._upstream.open.discard(self)
        if self._line is not None:
            self._line.closed = time.monotonic()
        if self._later is not None:
            self._later.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if len(rest) < length:
            return
        self._received = rest[length:]
        self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):  # the cleanup job lists assets; this upstream has none
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        modality, name = _input(body)
        self._line = line = self._upstream.journal.add(time.monotonic(), self._number, name, modality)
        answer = self._upstream.script(Asked(line, head, body))
        line.answer = answer.label
        self._play(iter(answer.steps), line)

    def _play(self, steps: Iterator[Step], line: Line) -> None:
        for step in steps:
            if isinstance(step, bytes):
                self.transport.write(step)
            elif isinstance(step, Ending):
                self._end(step, line)
                return
            elif isinstance(step, asyncio.Future):
                step.add_done_callback(lambda _: None if self.transport.is_closing() else self._play(steps, line))
                return
            else:
                self._later = asyncio.get_running_loop().call_later(step, self._play, steps, line)
                return
        line.answered = time.monotonic()

    def _end(self, ending: Ending, line: Line) -> None:
        if ending is Ending.HANG:
            return
        line.answered = time.monotonic()
        if ending is Ending.RESET:
            reset_on_close(self.transport)
        self.transport.close()


def _input(body: bytes) -> tuple[str, str]:
    found = _INPUT.search(body)
    if found is None:
        return "", ""
    text, media, file_name, value = found.groups()
    name = value.partition(b"\r\n--")[0] if file_name is None else file_name
    return (text or media).decode(), name.decode(errors="replace")
