"""What a person at a terminal sees while a call runs: bytes that are sent, then the wait."""

import contextlib
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from embedwire.results import Event, Segment


class Watch:
    """Shows both below the rows, and nothing at all without a terminal.

    Args:
        console: the terminal; None if there is none.
        is_brief: leave the terminal with the first event, for another program that then writes to it.
    """

    def __init__(self, console: Console | None, *, is_brief: bool = False) -> None:
        self._is_brief = is_brief
        self._sending = Progress(
            TextColumn("uploading"), BarColumn(bar_width=None), DownloadColumn(), console=console, expand=True
        )
        self._waiting = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console
        )
        group = Group(self._sending, self._waiting)
        # The console keeps rows and progress apart by itself; nothing else writes while this is shown.
        self._live = Live(group, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._shown = self._live if console is not None else contextlib.nullcontext()
        self._files = self._inputs = self._done = self._segments = 0
        self._task = self._sending.add_task("", total=None, visible=False)
        self._wait = self._waiting.add_task("waiting for the answer")

    def expect(self, inputs: int, files: int, size: int | None) -> None:
        """Say what is to come, before it does; the size is None if a file has none yet."""
        self._inputs, self._files = inputs, files
        self._sending.update(self._task, total=size, visible=files > 0)

    def sent(self, chunk: bytes) -> None:
        """Count what was read of a file; an empty chunk ends it. Called from any thread."""
        self._files -= not chunk
        self._sending.update(self._task, advance=len(chunk), visible=self._files > 0)

    def received(self, event: Event) -> None:
        """Count what came, before anybody shows it."""
        if self._is_brief:
            self._live.stop()
        is_segment = isinstance(event, Segment)
        self._segments += is_segment
        self._done += not is_segment
        description = f"receiving: segments: {self._segments}, {self._done} of {self._inputs} inputs done"
        self._waiting.update(self._wait, description=description)

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.__exit__(kind, error, at)
