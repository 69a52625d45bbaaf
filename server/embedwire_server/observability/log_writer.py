"""Log writer thread: writes lines to a file descriptor, through a bounded buffer.

Adding a line to the buffer never blocks and never fails. A line that does not fit, or that cannot be written, is
dropped and counted. When writing works again, one line reports how many were lost.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

MAX_BUFFERED_LINES = 10_000
MAX_BUFFERED_BYTES = 4 << 20
# Writes of at most this size to a pipe are atomic, so that lines of several processes are not mixed.
_CHUNK_BYTES = select.PIPE_BUF
# Pause once the buffer is empty, so that more lines are written together: waking the thread costs as much as a line.
_PAUSE_SECONDS = 0.005


class LogWriter:
    """A bounded buffer of lines and the thread that writes them.

    Args:
        file: the descriptor to write to; -1 drops every line.
        report: renders the line that reports the number of lost lines.

    Attributes:
        file: the descriptor.
        dropped: how many lines were dropped since the start.
    """

    def __init__(self, file: int, report: Callable[[int], bytes]) -> None:
        self.file = file
        self._report = report
        self._items: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._lock = threading.RLock()  # reentrant: a finalizer or a signal handler may log while it is held
        self._lines = self._bytes = self._unreported = 0
        self._begun = b""  # the rest of a partly written line
        self.dropped = 0
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def put(self, line: bytes) -> None:
        """Add a line, with its line break. Thread-safe."""
        size = len(line)
        with self._lock:
            if self._lines >= MAX_BUFFERED_LINES or self._bytes + size > MAX_BUFFERED_BYTES:
                self._drop(1)
                return
            self._lines += 1
            self._bytes += size
        self._items.put(line)

    def flush(self, seconds: float) -> bool:
        """Wait up to `seconds` until all lines that were put before are written or dropped; return whether they are."""
        done = threading.Event()
        self._items.put(done)
        return done.wait(seconds)

    def _run(self) -> None:
        while True:
            items = [self._items.get()]
            while not self._items.empty():
                items.append(self._items.get())
            lost = 0
            for chunk in _chunks([item for item in items if isinstance(item, bytes)]):
                lost = self._write(chunk)
                with self._lock:
                    self._lines -= len(chunk)
                    self._bytes -= sum(map(len, chunk))
                    self._drop(lost)
            if not lost:
                self._report_loss()
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()
            time.sleep(_PAUSE_SECONDS)

    def _write(self, lines: list[bytes]) -> int:
        """Write what can be written; return the number of lost lines."""
        rest = self._begun
        data = memoryview(rest + b"".join(lines))
        written = 0
        try:
            while written < len(data):
                written += self._write_some(data[written:])
        except OSError:  # no reader, a full disk, a closed descriptor
            return self._finish_line(rest, lines, written)
        self._begun = b""
        return 0

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self.file, data)
        except BlockingIOError:  # another process has made it non-blocking
            writable = select.poll()
            writable.register(self.file, select.POLLOUT)
            writable.poll()
            return 0

    def _finish_line(self, rest: bytes, lines: list[bytes], written: int) -> int:
        """Keep the rest of a partly written line for the next write; return the number of lines that are not begun."""
        self._begun = rest[written:]
        written = max(0, written - len(rest))
        left = list(lines)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            self._begun = left.pop(0)[written:]
        return len(left)

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unreported += lines

    def _report_loss(self) -> None:
        with self._lock:
            lost, self._unreported = self._unreported, 0
        if lost and self._write([self._report(lost)]):
            with self._lock:
                self._unreported += lost


def _chunks(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines in order, in chunks of at most `_CHUNK_BYTES`; a longer line is a chunk of its own."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        if chunk and size + len(line) > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield chunk
