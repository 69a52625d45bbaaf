"""Options of several subcommands, and the order of inputs on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from embedwire.cli.inputs import CutEnd, InputArgument

_INPUTS, _CALL, _SERVER, _OUTPUT = "Inputs, in the order given", "Call", "Server", "Output"
_ORDER = "embedwire.order"
_KINDS = ("text", "image", "audio")


class OrderedCommand(TyperCommand):
    """Command that records the order of its input options across their names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the type of the context is private
        """Parse the arguments and record the order."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [param.name for param in order if param.name in _KINDS]
        return super().parse_args(ctx, args)


def given(
    ctx: typer.Context, text: list[str] | None, image: list[str] | None, audio: list[str] | None
) -> list[InputArgument]:
    """Return all inputs in the order of the command line."""
    values = {"text": iter(text or ()), "image": iter(image or ()), "audio": iter(audio or ())}
    return [InputArgument(kind, next(values[kind])) for kind in ctx.meta[_ORDER]]


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
    typer.Option("--text", metavar="TEXT", help="A text, or - for stdin. Repeatable.", rich_help_panel=_INPUTS),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="PATH|URL",
        help="An image file, its URL, or - for stdin. Repeatable.",
        rich_help_panel=_INPUTS,
    ),
]
Audios = Annotated[
    list[str] | None,
    typer.Option(
        "--audio",
        metavar="PATH|URL",
        help="An audio file, its URL, or - for stdin. Repeatable.",
        rich_help_panel=_INPUTS,
    ),
]
StartOffset = Annotated[
    float | None,
    typer.Option(
        "--start-offset", metavar="SECONDS", min=0, help="Where to start in the audio.", rich_help_panel=_INPUTS
    ),
]
Truncation = Annotated[
    CutEnd | None,
    typer.Option("--truncate", help="Which end of a too long text to cut off.", rich_help_panel=_INPUTS),
]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help="See embedwire models.", rich_help_panel=_CALL)]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0,
        max=31_536_000,
        help="Deadline of the call. Default: 60, or 600 with audio.",
        show_default=False,
        rich_help_panel=_CALL,
    ),
]
MaxRetries = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=2**31 - 1,
        help="Largest number of upstream retries for each input.",
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
