"""Options of `embedwire batch` only."""

import enum
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedwire.cli import durations, options
from embedwire.options import MAX_RETRIES

if TYPE_CHECKING:  # the package needs an extra, and others than `batch` do not have it
    from embedwire.batch.records import Modality

_SOURCES, _OUTPUT, _RUN, _PLAN = "Sources", "Output", "Run", "Plan without a run"
_MODALITIES: tuple["Modality", ...] = ("text", "image", "audio")


class Format(enum.StrEnum):
    """Formats of the output; an enum, since older versions of typer know no literals."""

    PARQUET = "parquet"
    NPY = "npy"


class SourceFormat(enum.StrEnum):
    """Formats of a source; an enum, as above."""

    FOLDER = "folder"
    LIST = "list"
    JSONL = "jsonl"
    PARQUET = "parquet"


def per_modality(option: str, values: Sequence[str] | None, unit: str) -> dict["Modality", Decimal]:
    """Parse the values MODALITY=NUMBER of an option.

    Args:
        option: its name, for errors.
        values: the values.
        unit: what the number is, for errors.

    Raises:
        BadParameter: a modality is unknown or repeated, or a number is not positive.
    """
    found: dict[Modality, Decimal] = {}
    for value in values or ():
        name, _, number = value.partition("=")
        modality = next((each for each in _MODALITIES if each == name), None)
        amount = _positive(number)
        if modality is None or amount is None or modality in found:
            names = ", ".join(f"{each}={unit}" for each in _MODALITIES)
            raise typer.BadParameter(f"must be one of {names}, each at most once, got {value}", param_hint=option)
        found[modality] = amount
    return found


def _positive(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


def _column(name: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not value:
            raise typer.BadParameter(f"must be the name of a column or field, for instance {name}")
        return value

    return check


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Folder or bucket prefix (s3://...); FILE.jsonl, FILE.parquet; FILE.txt (a path or URL per line); "
        "or - for stdin with --source-format.",
        show_default=False,
    ),
]
SourceFormatOption = Annotated[
    SourceFormat | None,
    typer.Option(
        "--source-format",
        metavar="FORMAT",
        help="folder, list, jsonl or parquet. Default: by the suffix.",
        show_default=False,
        rich_help_panel=_SOURCES,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Read only files of folders that match, for instance '*.flac'. Repeatable.",
        rich_help_panel=_SOURCES,
    ),
]
KeyColumn = Annotated[
    str,
    typer.Option(
        "--key-column",
        metavar="NAME",
        callback=_column("key"),
        help="Column (Parquet) or field (JSON lines) of the key.",
        rich_help_panel=_SOURCES,
    ),
]
TextColumn = Annotated[
    str,
    typer.Option(
        "--text-column", metavar="NAME", callback=_column("text"), help="... of a text.", rich_help_panel=_SOURCES
    ),
]
ImageColumn = Annotated[
    str,
    typer.Option(
        "--image-column",
        metavar="NAME",
        callback=_column("image"),
        help="... of the path, URL or bytes of an image.",
        rich_help_panel=_SOURCES,
    ),
]
AudioColumn = Annotated[
    str,
    typer.Option(
        "--audio-column",
        metavar="NAME",
        callback=_column("audio"),
        help="... of the path, URL or bytes of audio.",
        rich_help_panel=_SOURCES,
    ),
]
Checksum = Annotated[
    bool,
    typer.Option(
        "--checksum",
        help="Detect changed files by a hash of their content, not by size and time. Reads each file twice.",
        rich_help_panel=_SOURCES,
    ),
]
OutputFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="Folder for the vectors, failures.jsonl and the ledger. The same command again resumes. "
        "Optional with --dry-run.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
FormatOption = Annotated[
    Format,
    typer.Option("--format", help="Parquet, or float32 arrays with JSON lines beside them.", rich_help_panel=_OUTPUT),
]
PartRows = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=options.number(int, 1, 10_000_000),
        help="Rows (vectors) of a file of the output. Default: 65536.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        help="Also the uncertainty of each value of the vectors, if the model reports it.",
        rich_help_panel=_OUTPUT,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Embed inputs again that an earlier run rejected.", rich_help_panel=_RUN),
]
InputsPerCall = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=options.number(int, 1, 256),
        help="Inputs of a call. Default: 32.",
        show_default=False,
        rich_help_panel=_RUN,
    ),
]
ConcurrentCalls = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=options.number(int, 1, 1000),
        help="Concurrent calls. Default: 8.",
        show_default=False,
        rich_help_panel=_RUN,
    ),
]
MaxAttempts = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=options.number(int, 1, MAX_RETRIES),
        help="Maximum number of times that an input is sent, after temporary failures. Default: 5.",
        show_default=False,
        rich_help_panel=_RUN,
    ),
]
OutageTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=durations.parse,
        help="End the run if no call succeeds for this long, such as 30s. Default: 1h.",
        show_default=False,
        rich_help_panel=_RUN,
    ),
]
ProgressInterval = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=durations.parse,
        help="Time between JSON lines of progress, if stderr is no terminal. Default: 10s.",
        show_default=False,
        rich_help_panel=_RUN,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read the sources, and print what would be sent: inputs, sizes, requests. Needs no server.",
        rich_help_panel=_PLAN,
    ),
]
RequestsPerMinute = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODALITY=N",
        help="Quota of the upstream, to estimate the time, such as text=600. Repeatable.",
        rich_help_panel=_PLAN,
    ),
]
MediaMinutesPerHour = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        parser=options.number(float, 1, 1_000_000),
        help="The same, for minutes of audio.",
        rich_help_panel=_PLAN,
    ),
]
Price = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODALITY=AMOUNT",
        help="Price of one text, of one image, or of one minute of audio. Repeatable.",
        rich_help_panel=_PLAN,
    ),
]
