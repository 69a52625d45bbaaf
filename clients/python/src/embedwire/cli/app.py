"""The command `embedwire` and its subcommands."""

import signal
import sys
from typing import Annotated

import typer

from embedwire.cli import exit_codes, terminal
from embedwire.cli.batch.command import batch
from embedwire.cli.commands import Command, Group, InputsCommand
from embedwire.cli.embed import embed
from embedwire.cli.models import models
from embedwire.cli.plot import plot
from embedwire.version import __version__

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=exit_codes.HELP,
)
app.command(cls=InputsCommand, epilog=exit_codes.HELP)(embed)
app.command(cls=InputsCommand, epilog=exit_codes.HELP)(plot)
app.command(cls=Command, epilog=exit_codes.BATCH_HELP)(batch)
app.command(cls=Command, epilog=exit_codes.HELP)(models)


def show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    """Print the version and exit, if the flag is set.

    Raises:
        Exit: the flag is set.
    """
    if wanted:
        typer.echo(f"embedwire {__version__}")
        raise typer.Exit


@app.callback()
def start(
    *,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Embeddings of texts, images and audio, from an Embedwire server."""
    terminal.replace_unencodable()
    for number in (signal.SIGTERM, signal.SIGHUP):  # exit by an exception, which removes a partial file
        signal.signal(number, lambda which, _: sys.exit(128 + which))
