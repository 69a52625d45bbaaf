"""Progress display of a call or a run: uploaded bytes, then received segments."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import embedwire.results
from embedwire.cli.terminal import messages
from embedwire.results import Result, Segment

_STAGES: Mapping[str, str] = {
    "uploading": "sent to the upstream",
    "preparing": "prepared by the upstream",
    "processing": "processed by the upstream, in a task",
}


class ProgressDisplay:
    """Live progress below the output. Shows nothing without a terminal.

    Args:
        console: the terminal; None if there is none.
        is_brief: stop at the first event, because another program then writes to the terminal.
    """

    def __init__(self, console: Console | None, *, is_brief: bool = False) -> None:
        self._console = console
        self._is_brief = is_brief
        self._sending = Progress(
            TextColumn("uploading"), BarColumn(bar_width=None), DownloadColumn(), console=console, expand=True
        )
        self._waiting = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console
        )
        group = Group(self._sending, self._waiting)
        # No redirection is needed: while this is shown, all output goes through the same console.
        self._live = Live(group, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._shown = self._live if console is not None else contextlib.nullcontext()
        self._files = self._done = self._segments = 0
        self._inputs: int | None = None
        self._task = self._sending.add_task("", total=None, visible=False)
        self._wait = self._waiting.add_task("waiting for the answer")

    @property
    def messages(self) -> Console:
        """The console for messages; that of the progress, if it is shown, which prints them above it."""
        return self._console or messages()

    def set_totals(self, inputs: int | None, files: int = 0, size: int | None = None) -> None:
        """Set the totals before the call: number of inputs and of files, and size of the files; None if unknown."""
        self._inputs, self._files = inputs, files
        self._sending.update(self._task, total=size, visible=files > 0)

    def add_chunk(self, chunk: bytes) -> None:
        """Count a chunk that was read from a file; an empty one is its end. Called from any thread."""
        self._files -= not chunk
        self._sending.update(self._task, advance=len(chunk), visible=self._files > 0)

    def add_progress(self, progress: embedwire.results.Progress) -> None:
        """Show a stage of an input. Called from any thread."""
        if (words := _STAGES.get(progress.stage)) is not None:
            self._waiting.update(self._wait, description=f"input {progress.input_index}: {words}")

    def add_event(self, event: Segment | Result) -> None:
        """Count an event, before the sink prints it."""
        if self._is_brief:
            self._live.stop()
        is_segment = isinstance(event, Segment)
        self._segments += is_segment
        self._done += not is_segment
        done = self._done if self._inputs is None else f"{self._done} of {self._inputs}"
        description = f"receiving: segments: {self._segments}, {done} inputs done"
        self._waiting.update(self._wait, description=description)

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.__exit__(kind, error, at)
