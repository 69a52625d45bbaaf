"""Run the command in a process of its own, with pipes or on a terminal."""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[3] / "clients/python/examples/samples"
COMMAND = (sys.executable, "-m", "embedwire")
MPLCONFIGDIR = Path(tempfile.gettempdir(), "embedwire-matplotlib")
PIPE = asyncio.subprocess.PIPE
ESCAPE = "\x1b"


@dataclasses.dataclass
class Ended:
    """Output and exit code of an ended command."""

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def usage(self) -> str:
        """The text of a usage error, without its frame."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.err).split())


def environment(target: str = "", **more: str) -> dict[str, str]:
    chosen = {"LANG": "C.UTF-8", "TERM": "xterm-256color", "COLUMNS": "80", "HOME": "/nonexistent"}
    chosen["MPLCONFIGDIR"] = str(MPLCONFIGDIR)
    return chosen | ({"EMBEDWIRE_TARGET": target} if target else {}) | more


async def start(target: str, *words: str | Path, **more: Any) -> asyncio.subprocess.Process:
    pipes = {"stdin": asyncio.subprocess.DEVNULL, "stdout": PIPE, "stderr": PIPE, "limit": 1 << 24} | more
    return await asyncio.create_subprocess_exec(*COMMAND, *words, env=environment(target), **pipes)


async def run(target: str, *words: str | Path, stdin: bytes = b"", **more: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment(target, **more), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate(stdin)
    return Ended(process.returncode or 0, out, err.decode())


class Terminal:
    """A pseudo-terminal with that many columns, and everything that was written to it."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.written = ""
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    @classmethod
    @contextlib.contextmanager
    def open(cls, columns: int = 80) -> Iterator["Terminal"]:
        terminal = cls(columns)
        try:
            yield terminal
        finally:
            terminal.close_theirs()
            os.close(terminal._ours)

    def close_theirs(self) -> None:
        """Close this process's copy of the command's side, so that the end of the command is detected."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    async def read_until(self, text: str | None) -> None:
        """Read until this text has been written, or with None until the command has ended."""
        while text is None or text not in self.written:
            try:
                data = await asyncio.to_thread(os.read, self._ours, 1 << 16)
            except OSError:  # the command has closed the terminal
                assert text is None, self.written
                return
            self.written += data.decode(errors="replace")

    @property
    def screen(self) -> list[str]:
        """The visible text of the terminal, after the few escape sequences that progress uses."""
        lines, row, column = [""], 0, 0
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.written):
            if token == "\r":
                column = 0
            elif token == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif re.fullmatch(r"\x1b\[\d*A", token):
                row = max(0, row - int(token[2:-1] or 1))
            elif token == "\x1b[2K":
                lines[row] = ""
            elif not token.startswith(ESCAPE):
                before = lines[row].ljust(column)
                lines[row] = before[:column] + token + before[column + len(token) :]
                column += len(token)
        return [line.rstrip() for line in lines if line.strip()]


async def run_on_terminal(target: str, *words: str | Path, columns: int = 80, **more: str) -> tuple[int, Terminal]:
    """Run with stdout and stderr on one terminal."""
    with Terminal.open(columns) as terminal:
        chosen = environment(target, **more)
        del chosen["COLUMNS"]
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *words, env=chosen, stdin=PIPE, stdout=terminal.theirs, stderr=terminal.theirs
        )
        terminal.close_theirs()
        await terminal.read_until(None)
        return await process.wait(), terminal
