"""The command `embedwire`, also `python -m embedwire`.

It needs the extra `embedwire[cli]`, to plot `[plot]`, and for batches `[batch]`.
"""

import contextlib
import os
import sys
import threading
from typing import TextIO

_EXTRAS = {"numpy": "cli", "rich": "cli", "typer": "cli", "matplotlib": "plot"} | dict.fromkeys(
    ("pyarrow", "fsspec", "tinytag"), "batch"
)
_INTERRUPTED = 130
_CLOSED = 141
_OUTPUT = 5
_THREAD_SECONDS = 1.0
_OWN_THREADS = "embedwire-"  # these may read stdin, and hold no lock of gRPC


def main() -> int:
    """Run the command, and return its exit code once the threads of gRPC have ended.

    Python stops daemon threads at exit wherever they are. One that holds the lock of a call would block the destructor
    of that call, and so the exit, for ever.
    """
    code = _run()
    for thread in threading.enumerate():
        if thread.daemon and not thread.name.startswith(_OWN_THREADS):
            thread.join(_THREAD_SECONDS)
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
        _write_or_discard(sys.stderr)
    return code


def _run() -> int:
    """Run the command; print one line if the extra is not installed. Return the exit code."""
    for name in ("stdout", "stderr"):  # None if the shell closed it
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open until exit
    _discard_lines_of_libraries()
    try:
        from embedwire.cli.app import app  # noqa: PLC0415 - needs the extra

        app(prog_name="embedwire")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.stderr.write(f"error: the command needs more packages: pip install 'embedwire[{extra}]'\n")
        return 2
    except KeyboardInterrupt:  # before the command starts
        sys.stderr.write("error: interrupted\n")
        return _INTERRUPTED
    except SystemExit as error:
        # typer and rich exit with 1 if the reader of a help page closed it.
        return _flushed(BrokenPipeError() if isinstance(error.__context__, BrokenPipeError) else None, error.code)
    except OSError as error:  # of a help page
        return _flushed(error)
    return _flushed()


def _discard_lines_of_libraries() -> None:
    """Discard what gRPC core writes to descriptor 2, for instance about a failed handshake: the command reports it.

    gRPC reads its own variable when it is imported, which is before this.
    """
    if "GRPC_VERBOSITY" in os.environ:  # noqa: TID251 - a variable of gRPC, with which a user asks for these lines
        return
    try:
        sys.stderr = open(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")  # noqa: PTH123, SIM115 - open until exit
    except OSError:  # the shell closed it
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _flushed(error: OSError | None = None, code: str | int | None = None) -> int:
    """Write what is buffered for stdout; return the exit code, or that of the error of writing it."""
    try:
        _write_or_discard(sys.stdout)
        if error is not None:
            raise error
    except BrokenPipeError:
        return _CLOSED
    except OSError as raised:
        with contextlib.suppress(OSError):  # stderr may be full as well
            sys.stderr.write(f"error: {raised.filename or 'stdout'}: {raised.strerror}\n")
        return _OUTPUT
    return code if isinstance(code, int) else 0


def _write_or_discard(stream: TextIO) -> None:
    """Write what is buffered for a stream. If that fails, discard it: Python would try again, and exit with 120.

    Raises:
        OSError: it cannot be written.
    """
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise


if __name__ == "__main__":
    sys.exit(main())
