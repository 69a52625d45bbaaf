"""The plan of a batch: `--dry-run`."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

import typer
from rich.table import Table

from embedwire.batch.completed import completed
from embedwire.batch.plan import Plan, Prices, Quota, plan
from embedwire.batch.records import Modality
from embedwire.cli import durations, exit_codes, sizes, terminal
from embedwire.cli.batch.run import Preparation, batch_exit_codes
from embedwire.cli.batch.sources import SourceOptions
from embedwire.cli.batch.summary import count, ignored, print_row

_MODALITIES: tuple[Modality, ...] = ("text", "image", "audio")
_UNKNOWN = "?"


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Quota and prices of the upstream that are given.

    Attributes:
        requests_per_minute: by modality.
        media_minutes_per_hour: minutes of audio per hour; None if it is not given.
        prices: of one text, of one image and of one minute of audio.
    """

    requests_per_minute: Mapping[Modality, Decimal]
    media_minutes_per_hour: float | None
    prices: Mapping[Modality, Decimal]

    @property
    def quota(self) -> Quota:
        """The quota of the plan."""
        minutes = self.media_minutes_per_hour
        per_minute = {modality: float(number) for modality, number in self.requests_per_minute.items()}
        return Quota(**per_minute, audio_minutes=None if minutes is None else minutes / 60)

    @property
    def of_plan(self) -> Prices:
        """The prices of the plan, which are those of 1,000 texts and images."""
        return Prices(
            **{
                modality: float(price if modality == "audio" else 1000 * price)
                for modality, price in self.prices.items()
            }
        )


def print_plan(sources: SourceOptions, prepare: Preparation, folder: Path | None, limits: Limits) -> NoReturn:
    """Read the sources, print what a run would send, and exit. Nothing is sent.

    Args:
        sources: the sources.
        prepare: options of the inputs.
        folder: the output, whose complete inputs are not counted; None if it is not given.
        limits: quota and prices.

    Raises:
        Exit: always, with the exit code.
    """
    with batch_exit_codes():
        screen = terminal.rows()
        console = terminal.progress(screen)
        with contextlib.ExitStack() as stack:
            is_complete = None if folder is None else stack.enter_context(completed(folder))
            if console is not None:
                stack.enter_context(console.status("reading the sources"))
            found = plan(sources.open(prepare), is_complete=is_complete, quota=limits.quota, prices=limits.of_plan)
        screen.print(_table(found, has_time=limits.quota != Quota(), has_cost=bool(limits.prices)))
        screen.print()
        for label, text in _lines(found):
            print_row(screen, label, text)
        raise typer.Exit(exit_codes.OK)


def _table(found: Plan, *, has_time: bool, has_cost: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    columns = ["inputs", "size", "minutes", *(["time"] if has_time else []), *(["cost"] if has_cost else [])]
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    modalities = [modality for modality in _MODALITIES if found.inputs[modality]]
    rows = [(modality, _row(found, modality)) for modality in modalities]
    for title, row in rows if len(rows) == 1 else [*rows, ("total", _total(found))]:
        table.add_row(title, *(row[name] for name in columns))
    return table


def _row(found: Plan, modality: Modality) -> dict[str, str]:
    seconds, cost = found.seconds.get(modality), found.cost.get(modality)
    return {
        "inputs": f"{found.inputs[modality]:,}",
        "size": sizes.show(found.bytes[modality]),
        "minutes": _minutes(found) if modality == "audio" else "",
        "time": _UNKNOWN if seconds is None else durations.show(seconds),
        "cost": _amount(cost),
    }


def _total(found: Plan) -> dict[str, str]:
    return {
        "inputs": f"{found.inputs.total():,}",
        "size": sizes.show(found.bytes.total()),
        "minutes": _minutes(found) if found.inputs["audio"] else "",
        "time": _time(found),
        "cost": _amount(found.total_cost),
    }


def _time(found: Plan) -> str:
    if found.least_seconds is None or found.most_seconds is None:
        return _UNKNOWN
    least, most = durations.show(found.least_seconds), durations.show(found.most_seconds)
    return least if least == most else f"{least} to {most}"


def _minutes(found: Plan) -> str:
    return f"{found.audio_seconds / 60:,.1f}"


def _amount(cost: float | None) -> str:
    return _UNKNOWN if cost is None else f"{cost:,.2f}"


def _lines(found: Plan) -> Iterator[tuple[str, str]]:
    yield "requests", f"{found.requests:,} of the upstream, one for each input, without retries"
    if found.complete:
        yield "complete before", count(found.complete, "input")
    if found.unknown_durations:
        files = count(found.unknown_durations, "audio file")
        yield "not in minutes", f"{files} without a duration in the header, or on a web server"
    if found.invalid:
        yield "invalid", f"{count(found.invalid, 'entry', 'entries')}; the run writes them to failures.jsonl"
    if found.ignored:
        yield "ignored", ignored(found.ignored)
    yield "sent", "nothing, this was a dry run"
