"""The subcommand `embedwire models`."""

import dataclasses
import enum
import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from embedwire.cli import failures, options, sizes, terminal
from embedwire.cli.call import open_client
from embedwire.cli.terminal import printable
from embedwire.connection import DEFAULT_TARGET
from embedwire.results import AudioSupport, ImageSupport, Model, TextSupport


class Format(enum.StrEnum):
    """Forms of the output; an enum, since older versions of typer know no literals."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[
    Format,
    typer.Option("--format", help="Table, or one JSON object per line.", rich_help_panel="Output"),
]


def models(  # noqa: PLR0913, PLR0917 - options of the command
    timeout: options.Timeout = None,
    target: options.Target = DEFAULT_TARGET,
    tls: options.Tls = False,  # noqa: FBT002 - a flag is a boolean
    tls_ca: options.TlsCa = None,
    token: options.Token = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the models of the server, and what each accepts and returns."""
    with failures.exit_codes_for_exceptions():
        with open_client(target, tls_ca, token, timeout, tls=tls) as client:
            found = client.models()
        screen = terminal.rows()
        if form is Format.TABLE:
            screen.print(_table(found))
            return
        for model in found:
            screen.out(json.dumps(dataclasses.asdict(model)))


def _table(found: list[Model]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=True)
    table.add_column("model", no_wrap=True)
    table.add_column("dims", justify="right")
    for title in ("text", "image", "audio"):
        table.add_column(title)
    for model in found:
        names = "\n".join(printable(name) for name in (model.name, *(f"= {alias}" for alias in model.aliases)))
        table.add_row(names, str(model.dimensions), _text(model.text), _image(model.image), _audio(model.audio))
    return table


def _text(support: TextSupport | None) -> str:
    if support is None:
        return "no"
    cuts = f"\ntruncate: {', '.join(support.truncates)}" if support.truncates else ""
    return f"{support.max_tokens} tokens\nto {sizes.show(support.max_bytes)}{cuts}"


def _image(support: ImageSupport | None) -> str:
    if support is None:
        return "no"
    return f"{_kinds(support.media_types)}\nto {sizes.show(support.max_bytes)}\nfrom {support.min_side_px} px"


def _audio(support: AudioSupport | None) -> str:
    return "no" if support is None else f"{_kinds(support.media_types)}\nto {sizes.show(support.max_bytes)}"


def _kinds(media_types: tuple[str, ...]) -> str:
    return printable(", ".join(media_type.partition("/")[2] for media_type in media_types))
