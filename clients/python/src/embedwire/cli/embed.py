"""The subcommand `embedwire embed`."""

import contextlib
import enum
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from embedwire.cli import arrays, commands, failures, options, output, terminal
from embedwire.cli.arrays import SegmentCollector
from embedwire.cli.audio import AudioOptions, parse_segmentation
from embedwire.cli.given import InputArgument, check_inputs, check_output
from embedwire.cli.json_lines import JsonLines
from embedwire.cli.receiver import Outcome
from embedwire.cli.session import Session
from embedwire.cli.stdin_lines import StdinLines
from embedwire.cli.table import TableRows
from embedwire.connection import DEFAULT_TARGET


class Format(enum.StrEnum):
    """Forms of the output; an enum, since older versions of typer know no literals."""

    TABLE = "table"
    JSON = "json"
    NPY = "npy"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        help="Table, one JSON object per line, or a float32 array (segments, dimensions), which is built in memory.",
        rich_help_panel="Output",
    ),
]
LinesOption = Annotated[
    bool,
    typer.Option(
        "--lines",
        help="With --text -: one text per line of stdin (UTF-8). Blank lines are skipped.",
        rich_help_panel=options.INPUTS,
    ),
]


def embed(  # noqa: PLR0913, PLR0917 - options of the command
    ctx: typer.Context,
    text: options.Texts = None,
    image: options.Images = None,
    audio: options.Audios = None,
    lines: LinesOption = False,  # noqa: FBT002 - a flag is a boolean
    start_offset: options.StartOffset = None,
    end_offset: options.EndOffset = None,
    segmentation: options.SegmentationOption = None,
    embedding_option: options.EmbeddingOptions = None,
    embedding_scope: options.EmbeddingScopes = None,
    embedding_type: options.EmbeddingTypes = None,
    processing_mode: options.ProcessingModeOption = None,
    resume_task: options.ResumedTasks = None,
    truncate: options.Truncation = None,
    model: options.ModelName = "marengo3.0",
    timeout: options.Timeout = None,
    max_retries: options.MaxRetries = None,
    dimensions: options.Dimensions = None,
    uncertainty: options.Uncertainty = False,  # noqa: FBT002 - a flag is a boolean
    target: options.Target = DEFAULT_TARGET,
    tls: options.Tls = False,  # noqa: FBT002 - a flag is a boolean
    tls_ca: options.TlsCa = None,
    token: options.Token = None,
    form: FormatOption = Format.TABLE,
    file: options.Output = None,
) -> None:
    """Embed texts, images and audio, and show every segment as it arrives.

    The inputs are in the order of the command line.
    Segments are provisional until the result of their input; a failed result
    makes them invalid. A failed input does not affect the others: its reason
    is printed to stderr. The bearer token for the server is read from the
    variable EMBEDWIRE_TOKEN.

    More than 256 inputs, and those of --lines, are sent in several concurrent
    calls: each input is shown when it is complete, in order of arrival.

    The upstream processes long audio in a task. Its identifier is printed to
    stderr: --resume-task gets the result, also if this command ends before.
    """
    given = commands.given(ctx, text, image, audio)
    given += [InputArgument("audio", task, is_task=True) for task in resume_task or ()]
    audio_options = AudioOptions(
        start_offset=start_offset,
        end_offset=end_offset,
        segmentation=parse_segmentation(segmentation),
        aspects=embedding_option or (),
        scopes=embedding_scope or (),
        types=embedding_type or (),
        mode=processing_mode,
    )
    _check_lines(given, lines=lines)
    check_inputs(given, truncate, audio_options)
    check_output(given, file)
    _check_format(form, file, uncertainty=uncertainty)
    session = Session(
        given=given,
        lines=StdinLines() if lines else None,
        audio=audio_options,
        truncate=truncate,
        model=model,
        timeout=timeout,
        max_retries=max_retries,
        dimensions=dimensions,
        uncertainty=uncertainty,
        target=target,
        tls=tls,
        tls_ca=tls_ca,
        token=token,
    )
    _run(session, form, file)


def _check_lines(given: Sequence[InputArgument], *, lines: bool) -> None:
    if lines and not (len(given) == 1 and given[0].kind == "text" and given[0].is_stdin):
        raise typer.BadParameter("needs --text - as the only input", param_hint="--lines")


def _check_format(form: Format, path: Path | None, *, uncertainty: bool) -> None:
    if uncertainty and form is not Format.JSON:
        raise typer.BadParameter("needs --format json: other formats do not have it", param_hint="--uncertainty")
    if form is Format.NPY and path is None and sys.stdout.isatty():
        raise typer.BadParameter("an array cannot be shown on a terminal; name a file", param_hint="--output")


def _run(session: Session, form: Format, path: Path | None) -> None:
    """Make the call, write its answer, and exit.

    Raises:
        Exit: always, with the exit code of the call.
    """
    with failures.exit_codes_for_exceptions():
        outcome = _array(session, path) if form is Format.NPY else _events(session, form, path)
        raise typer.Exit(outcome.exit_code)


def _events(session: Session, form: Format, path: Path | None) -> Outcome:
    with contextlib.ExitStack() as stack:
        file = None if path is None else stack.enter_context(output.open_streamed(path))
        screen = terminal.rows() if file is None else terminal.rows(file, str(path))
        sink = JsonLines(screen.out) if form is Format.JSON else TableRows(screen, session.name_width)
        outcome = session.run(sink, screen)
        if file is not None and not outcome.embedded:
            output.discard(file)
        return outcome


def _array(session: Session, path: Path | None) -> Outcome:
    with contextlib.ExitStack() as stack:
        file = sys.stdout.buffer if path is None else stack.enter_context(output.open_atomic(path))
        collector = SegmentCollector()
        outcome = session.run(collector, terminal.rows())
        with output.writing("stdout" if path is None else str(path)):
            arrays.write(collector, file)
        return outcome
