"""The subcommand `embedwire plot`."""

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from embedwire.cli import commands, exit_codes, failures, options, output, terminal
from embedwire.cli.arrays import SegmentCollector, matrix
from embedwire.cli.audio import AudioOptions
from embedwire.cli.given import InputArgument, check_inputs, check_output
from embedwire.cli.receiver import Outcome
from embedwire.cli.session import Session
from embedwire.connection import DEFAULT_TARGET
from embedwire.results import Segment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = (".png", ".svg", ".pdf")

Picture = Annotated[
    Path,
    typer.Option("--output", metavar="FILE", help="The image file: .png, .svg or .pdf.", rich_help_panel="Output"),
]
OptionName = Annotated[
    str | None,
    typer.Option(
        "--option",
        metavar="NAME",
        help="For one audio input: the embedding option to draw. Default: the first received.",
        show_default=False,
        rich_help_panel="Output",
    ),
]


def plot(  # noqa: PLR0913, PLR0917 - options of the command
    ctx: typer.Context,
    file: Picture,
    option: OptionName = None,
    text: options.Texts = None,
    image: options.Images = None,
    audio: options.Audios = None,
    start_offset: options.StartOffset = None,
    truncate: options.Truncation = None,
    model: options.ModelName = "marengo3.0",
    timeout: options.Timeout = None,
    max_retries: options.MaxRetries = None,
    target: options.Target = DEFAULT_TARGET,
    tls: options.Tls = False,  # noqa: FBT002 - a flag is a boolean
    tls_ca: options.TlsCa = None,
    token: options.Token = None,
) -> None:
    """Draw the similarity of several inputs, or of the segments of one audio file.

    The similarity is the cosine of the vectors. Among several inputs, audio
    is represented by the mean of its normalised segment vectors.
    """
    given = commands.given(ctx, text, image, audio)
    audio_options = AudioOptions(start_offset=start_offset)
    check_inputs(given, truncate, audio_options)
    check_output(given, file)
    _check_drawable(given, file, option)
    importlib.import_module("matplotlib")  # of another extra; before the call, which may be billed
    session = Session(
        given=given,
        audio=audio_options,
        truncate=truncate,
        model=model,
        timeout=timeout,
        max_retries=max_retries,
        target=target,
        tls=tls,
        tls_ca=tls_ca,
        token=token,
    )
    _run(session, file, option)


def _check_drawable(given: Sequence[InputArgument], file: Path, option: str | None) -> None:
    is_one_audio = len(given) == 1 and given[0].kind == "audio"
    if file.suffix.lower() not in _KINDS:
        raise typer.BadParameter(f"must end in {', '.join(_KINDS)}", param_hint="--output")
    if len(given) == 1 and not is_one_audio:
        message = "one input alone has nothing to be compared with; give a second one, or one audio input"
        raise typer.BadParameter(message, param_hint=given[0].option)
    if option is not None and not is_one_audio:
        raise typer.BadParameter("is for exactly one audio input", param_hint="--option")


def _run(session: Session, file: Path, option: str | None) -> None:
    """Make the call, draw its answer, and exit.

    Raises:
        Exit: always, with the exit code of the call.
    """
    with failures.exit_codes_for_exceptions():
        collector = SegmentCollector()
        with output.open_atomic(file) as opened:
            outcome = session.run(collector, terminal.rows())
            drawn = _draw(collector, session, option, opened, file)
        _print_and_exit(drawn, outcome, file)


def _draw(collector: SegmentCollector, session: Session, option: str | None, file: IO[bytes], path: Path) -> str:
    """Draw the figure and return a description of it; "" if there is too little to draw."""
    embedded = collector.non_empty()
    if len(session.given) > 1:
        if len(embedded) < 2:  # noqa: PLR2004 - two to compare
            return ""
        figure, drawn = _all_inputs(embedded, session, collector)
    elif embedded:
        figure, drawn = _one_audio(embedded[0][1], session, option, collector)
    else:
        return ""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # missing glyphs are drawn as boxes
        with output.writing(str(path)):
            figure.savefig(file, format=path.suffix.lower()[1:], dpi=150, bbox_inches="tight")
    return drawn


def _one_audio(
    segments: Sequence[Segment], session: Session, option: str | None, collector: SegmentCollector
) -> tuple["Figure", str]:
    seen = list(dict.fromkeys(segment.embedding_option for segment in segments))
    chosen = seen[0] if option is None else option
    if chosen not in seen:
        raise typer.BadParameter(f"the answer has no {chosen!r}; it has {', '.join(seen)}", param_hint="--option")
    part = [segment for segment in segments if segment.embedding_option == chosen]
    named = f" ({chosen})" if chosen else ""
    title = f"{collector.names[0]}: similarity over time{named}, {session.model}"
    result = collector.results.get(0)
    duration = None if result is None else result.media_duration_sec
    from embedwire.cli import heatmaps  # noqa: PLC0415 - matplotlib is slow to import

    drawn = f"the similarity of {len(part)} segments{named} of {collector.names[0]} over time"
    return heatmaps.over_time(matrix(part), heatmaps.windows(part, duration), title), drawn


def _all_inputs(
    embedded: Sequence[tuple[int, Sequence[Segment]]], session: Session, collector: SegmentCollector
) -> tuple["Figure", str]:
    from embedwire.cli import heatmaps  # noqa: PLC0415 - as above

    vectors = heatmaps.means([matrix(segments) for _, segments in embedded])
    names = [collector.names[index] for index, _ in embedded]
    has_audio = any(session.given[index].kind == "audio" for index, _ in embedded)
    note = "audio: the mean of its normalised segment vectors" if has_audio else ""
    return (
        heatmaps.of_inputs(vectors, names, f"Similarity of inputs, {session.model}", note),
        f"the similarity of {len(names)} inputs with each other",
    )


def _print_and_exit(drawn: str, outcome: Outcome, path: Path) -> None:
    """Print what was drawn, and exit.

    Raises:
        Exit: always, with the exit code of the call.
    """
    if drawn:
        terminal.rows().print(Text(f"{path}: {drawn}"), soft_wrap=True)
    else:
        failures.print_error("nothing was drawn: too few inputs have been embedded")
    raise typer.Exit(outcome.exit_code or (exit_codes.OK if drawn else exit_codes.OPERATOR))
