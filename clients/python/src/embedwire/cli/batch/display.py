"""Progress of a batch on a terminal."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from embedwire.batch import Progress
from embedwire.cli import durations

_PER_SECOND = 4  # updates; each reads a snapshot
_STOPPING = "Stopping: no more input is read; waiting for {running:,} running inputs."
_SECOND = "A second Ctrl-C ends immediately; what was saved is safe."


class BatchDisplay:
    """Bar and counts of a batch, which are removed when it ends.

    Args:
        console: the terminal.
        read: returns a snapshot of the progress; called in another thread.
    """

    def __init__(self, console: Console, read: Callable[[], Progress]) -> None:
        self._read = read
        self._is_stopping = False
        self._live = Live(
            get_renderable=self.__rich__,
            console=console,
            refresh_per_second=_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def stopping(self) -> None:
        """Show that the batch stops."""
        self._is_stopping = True

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.__exit__(kind, error, at)

    def __rich__(self) -> Group:
        """Return the lines."""
        progress = self._read()
        lines: list[ConsoleRenderable] = [_bar(progress), Text(_counts(progress))]
        if self._is_stopping:
            lines += [Text(_STOPPING.format(running=progress.in_flight), "yellow"), Text(_SECOND)]
        elif progress.waiting or progress.reason:
            lines += [Text(_outage(progress), "yellow")]
        return Group(*lines)


def _bar(progress: Progress) -> Table:
    done = progress.embedded + progress.resumed + progress.failed + progress.duplicates
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True, pad_edge=False)
    grid.add_column(ratio=1)
    for _ in range(3):
        grid.add_column(no_wrap=True)
    total = progress.total
    of = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    left = "" if progress.eta is None else f"{durations.show(progress.eta)} left"
    grid.add_row(ProgressBar(total, done, pulse=total is None), of, rate(progress.per_second), left)
    return grid


def _counts(progress: Progress) -> str:
    counts = {
        "embedded": progress.embedded,
        "complete before": progress.resumed,
        "failed": progress.failed,
        "retries": progress.retries,
        "running": progress.in_flight,
    }
    always = ("embedded", "failed", "retries")
    return "  ".join(f"{name} {count:,}" for name, count in counts.items() if count or name in always)


def _outage(progress: Progress) -> str:
    next_attempt = f"next attempt in {durations.show(progress.waiting)}" if progress.waiting else "trying again"
    return f"{_fault(progress.reason)}: {next_attempt}."


def _fault(reason: str) -> str:
    if reason in ("", "UNAVAILABLE"):
        return "The server is unreachable"
    return f"{'The upstream fails' if reason.startswith('UPSTREAM_') else 'Calls fail'} ({reason})"


def rate(per_second: float) -> str:
    """Return a rate, per second or per minute."""
    if per_second >= 1 or not per_second:
        return f"{per_second:,.0f}/s"
    return f"{per_second * 60:.1f}/min"
