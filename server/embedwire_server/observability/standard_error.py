"""Redirection of standard error: what other code writes to it becomes lines of the log.

Libraries in C (gRPC core, audio decoders) write to descriptor 2, which becomes a pipe that a thread reads. Python's own
texts (print, warnings) go to `sys.stderr`, which becomes a stream. Neither can block its writer or fail.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable

DESCRIPTOR = 2
_MAX_LINE_BYTES = 1 << 14
_FLUSH = b"\0"  # a marker line, by which the thread signals that it has read all before

Take = Callable[[str], None]


def reserve() -> None:
    """Open closed standard descriptors on the null device.

    Call this before any other file is opened: it would get one of their numbers, and receive what libraries write to
    standard error.
    """
    for number in range(DESCRIPTOR + 1):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def duplicate() -> int:
    """Duplicate the descriptor of standard error with which the process was started; return -1 if it had none."""
    return -1 if sys.__stderr__ is None else os.dup(DESCRIPTOR)


def redirect(original: int, take: Take) -> None:
    """Pass every line that is written to descriptor 2 to a function, until `restore`.

    Args:
        original: the descriptor of the original standard error.
        take: called with each line, from another thread; must neither block nor raise.
    """
    _Process.redirection = _Redirection(original, take)


def flush(seconds: float) -> None:
    """Wait up to `seconds` until all that was written to descriptor 2 has been passed on."""
    if _Process.redirection is not None:
        _Process.redirection.flush(seconds)


def restore() -> None:
    """Undo `redirect`: make descriptor 2 the original standard error again."""
    redirection, _Process.redirection = _Process.redirection, None
    if redirection is not None and redirection.original >= 0:
        os.dup2(redirection.original, DESCRIPTOR)


class _Process:
    """The state of the process."""

    redirection: "_Redirection | None" = None


class _Redirection:
    """Descriptor 2 as a pipe, and the thread that reads it.

    Args:
        original: the descriptor of the original standard error, for `restore`.
        take: called with each line; must neither block nor raise.
    """

    def __init__(self, original: int, take: Take) -> None:
        self.original = original
        self._take = take
        self._flushed = threading.Event()
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)  # a writer that blocks may hold the GIL, which the reading thread needs
        os.dup2(writer, DESCRIPTOR)
        os.close(writer)
        threading.Thread(target=self._run, name="standard-error", daemon=True).start()

    def flush(self, seconds: float) -> None:
        """Wait up to `seconds` until all that was written has been passed on."""
        self._flushed.clear()
        with contextlib.suppress(OSError):  # the pipe is full
            os.write(DESCRIPTOR, b"\n" + _FLUSH + b"\n")
            self._flushed.wait(seconds)

    def _run(self) -> None:
        begun = b""
        while data := os.read(self._reader, 1 << 16):
            *lines, begun = (begun + data).split(b"\n")
            if len(begun) > _MAX_LINE_BYTES:
                lines, begun = [*lines, begun], b""
            for line in lines:
                if line == _FLUSH:
                    self._flushed.set()
                elif line:
                    self._take(line.decode(errors="backslashreplace"))


class Stream(io.TextIOBase):
    """Text stream in place of `sys.stderr`: passes what is written to it, line by line, to a function.

    Args:
        take: called with each line; must neither block nor raise.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, take: Take) -> None:
        self._take = take
        self._threads = threading.local()  # an incomplete line for each thread

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of standard error, for child processes."""
        return DESCRIPTOR

    def write(self, text: str) -> int:
        """Pass on complete lines; keep an incomplete one until its end is written."""
        *lines, begun = (getattr(self._threads, "begun", "") + text).split("\n")
        if len(begun) > _MAX_LINE_BYTES:
            lines, begun = [*lines, begun], ""
        self._threads.begun = begun
        for line in lines:
            if line:
                self._take(line)
        return len(text)
