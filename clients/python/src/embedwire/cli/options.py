"""Options of several subcommands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from embedwire.cli.given import CutEnd
from embedwire.options import MAX_RETRIES, is_utf8

INPUTS, _CALL, _SERVER, _OUTPUT = "Inputs, in the order given", "Call", "Server", "Output"
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
        rich_help_panel=_CALL,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=number(float, 0, _YEAR, " seconds"),
        help="Deadline of each call. Default: 60, or 600 with audio.",
        show_default=False,
        rich_help_panel=_CALL,
    ),
]
MaxRetries = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=number(int, 0, MAX_RETRIES),
        help="Maximum number of upstream retries for each input.",
        show_default=False,
        rich_help_panel=_CALL,
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
