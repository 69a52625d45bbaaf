"""Options of several subcommands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from embedwire.cli.audio import Mode
from embedwire.cli.given import CutEnd
from embedwire.options import MAX_DIMENSIONS, MAX_RETRIES, is_utf8

INPUTS, CALL, _SERVER, _OUTPUT = "Inputs", "Call", "Server", "Output"
_YEAR = 31_536_000  # seconds


def number(kind: Callable[[str], float], least: int, most: int, unit: str = "") -> Callable[[str], float]:
    """Return a parser of a number, float or int; `min` and `max` of typer would be shown in the help."""

    def parse(text: str) -> float:
        fault = f"must be {least} to {most}{unit}, got {text}"
        try:
            value = kind(text)
        except ValueError:
            raise typer.BadParameter(fault) from None
        if not least <= value <= most:
            raise typer.BadParameter(fault)
        return value

    return parse


def check_model(name: str) -> str:
    """Return the name of a model.

    Raises:
        BadParameter: it is not UTF-8.
    """
    if not is_utf8(name):
        raise typer.BadParameter("must be UTF-8; embedwire models lists the names")
    return name


def reject_on_command_line(ctx: typer.Context, value: str | None) -> str | None:
    """Reject a token on the command line, which every user of the machine can read.

    Raises:
        BadParameter: the token is on the command line.
    """
    source = ctx.get_parameter_source("token")
    if value is not None and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("set the variable EMBEDWIRE_TOKEN; process lists show options", param_hint="--token")
    return value


Texts = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="TEXT", help="A text, or - for stdin. Repeatable.", rich_help_panel=INPUTS),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="FILE|URL...",
        help="Image files or URLs, or - for stdin, up to the next option. Patterns such as '*.png' are expanded. "
        "Repeatable.",
        rich_help_panel=INPUTS,
    ),
]
Audios = Annotated[
    list[str] | None,
    typer.Option(
        "--audio",
        metavar="FILE|URL...",
        help="Audio files or URLs, likewise. Names that begin with - come last, after --, or as ./-name.",
        rich_help_panel=INPUTS,
    ),
]
StartOffset = Annotated[
    float | None,
    typer.Option(
        "--start-offset",
        metavar="SECONDS",
        parser=number(float, 0, _YEAR, " seconds"),
        help="Start of the audio to embed.",
        rich_help_panel=INPUTS,
    ),
]
EndOffset = Annotated[
    float | None,
    typer.Option(
        "--end-offset",
        metavar="SECONDS",
        parser=number(float, 0, _YEAR, " seconds"),
        help="End of the audio to embed.",
        rich_help_panel=INPUTS,
    ),
]
SegmentationOption = Annotated[
    str | None,
    typer.Option(
        "--segmentation",
        metavar="fixed:SECONDS|dynamic:SECONDS",
        help="Division of audio: windows of that duration, or of at least that duration, which follow the content.",
        rich_help_panel=INPUTS,
    ),
]
EmbeddingOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding-option",
        metavar="NAME",
        help="Aspect of audio to embed, such as audio or transcription. Repeatable. Default: all.",
        rich_help_panel=INPUTS,
    ),
]
EmbeddingScopes = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding-scope",
        metavar="NAME",
        help="clip for the windows of audio, asset for the whole file. Repeatable. Default: clip.",
        rich_help_panel=INPUTS,
    ),
]
EmbeddingTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding-type",
        metavar="NAME",
        help="separate_embedding or fused_embedding. Repeatable. Default: separate_embedding.",
        rich_help_panel=INPUTS,
    ),
]
ProcessingModeOption = Annotated[
    Mode | None,
    typer.Option(
        "--processing-mode",
        help="One synchronous request for audio, or a task. Default: selected by the server.",
        show_default=False,
        rich_help_panel=INPUTS,
    ),
]
ResumedTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--resume-task",
        metavar="ID",
        help="An earlier task, whose result is an input after the others. Repeatable.",
        rich_help_panel=INPUTS,
    ),
]
Dimensions = Annotated[
    int | None,
    typer.Option(
        "--dimensions",
        metavar="N",
        parser=number(int, 1, MAX_DIMENSIONS),
        help="Number of values of each vector. Default: that of the model.",
        show_default=False,
        rich_help_panel=CALL,
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        help="With --format json: the uncertainty of each value of the vectors, if the model reports it.",
        rich_help_panel=CALL,
    ),
]
Truncation = Annotated[
    CutEnd | None,
    typer.Option(
        "--truncate",
        help="End of a text to cut off if the text is too long; none: reject it. Default: that of the upstream.",
        rich_help_panel=INPUTS,
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        callback=check_model,
        help="Name of the model, see embedwire models.",
        rich_help_panel=CALL,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=number(float, 0, _YEAR, " seconds"),
        help="Deadline of each call. Default: 60; with audio 3600, or 600 with --processing-mode sync.",
        show_default=False,
        rich_help_panel=CALL,
    ),
]
MaxRetries = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=number(int, 0, MAX_RETRIES),
        help="Maximum number of upstream retries for each input.",
        show_default=False,
        rich_help_panel=CALL,
    ),
]
Target = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", envvar="EMBEDWIRE_TARGET", help="Server address.", rich_help_panel=_SERVER),
]
Tls = Annotated[bool, typer.Option("--tls", help="Use TLS with gRPC's default roots.", rich_help_panel=_SERVER)]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Use TLS and trust these roots (PEM).",
        rich_help_panel=_SERVER,
    ),
]
Token = Annotated[
    str | None, typer.Option("--token", envvar="EMBEDWIRE_TOKEN", hidden=True, callback=reject_on_command_line)
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="File to write instead of stdout.", rich_help_panel=_OUTPUT),
]
