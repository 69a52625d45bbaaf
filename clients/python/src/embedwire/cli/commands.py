"""Classes of the commands: their help pages, and options that take several files."""

import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from embedwire.cli.given import KINDS, STDIN, InputArgument, expand

_ORDER = "embedwire.order"
_TEXT = "--text"
_HIDDEN = ("--token",)  # rejected on the command line
_INPUTS = frozenset(f"--{kind}" for kind in KINDS)


class Command(TyperCommand):
    """Command whose help page shows no type for flags, and whose errors name the allowed values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the types of typer are private
        """Parse the arguments.

        Raises:
            BadParameter: a value is invalid.
        """
        with _clear_errors():
            return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - the types of typer are private
        """Return the parameters."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """Group of commands, with help page and errors like those of `Command`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above
        """Parse the arguments."""
        with _clear_errors():
            return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - as above
        """Return the parameters."""
        return _without_types(super().get_params(ctx))


class InputsCommand(Command):
    """Command with input options, in any order; those of files take several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above
        """Parse the arguments, and record the order of the inputs across the names of their options.

        Raises:
            BadParameter: an input option has no value, or --text has several.
        """
        if not ctx.resilient_parsing:  # the shell completes a command line that is not complete
            known = {name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)}
            args = list(one_value_each(args, known))
        with _clear_errors():
            _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [param.name for param in order if param.name in KINDS]
        return super().parse_args(ctx, args)


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """Shorten the errors of the library: without the kind of exception, and with the closest names of an option."""
    try:
        yield
    except Exception as error:
        fault: Any = error  # the types of typer are private
        if isinstance(error, typer.BadParameter):
            fault.message = fault.message.removeprefix("Value error, ")
        if possible := [name for name in getattr(error, "possibilities", None) or () if name not in _HIDDEN]:
            fault.possibilities = [name for name in possible if name.startswith(fault.option_name)] or possible
        raise


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""  # the help page shows it in place of the type
    return params


def given(
    ctx: typer.Context, text: list[str] | None, image: list[str] | None, audio: list[str] | None
) -> list[InputArgument]:
    """Return all inputs in the order of the command line, with patterns expanded.

    Raises:
        BadParameter: no file matches a pattern.
    """
    values = {"text": iter(text or ()), "image": iter(image or ()), "audio": iter(audio or ())}
    arguments = [InputArgument(kind, next(values[kind])) for kind in ctx.meta[_ORDER]]
    return [each for argument in arguments for each in expand(argument)]


def one_value_each(words: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield a command line in which each value of an input option is written as --image=VALUE.

    --image and --audio take all words up to the next option; after "--", all words, also those that begin with "-".

    Args:
        words: the command line.
        known: names of all options.

    Raises:
        BadParameter: an input option has no value, or --text has several.
    """
    rest = deque(words)
    while rest:
        word = rest.popleft()
        option, is_joined, value = word.partition("=")
        if option not in _INPUTS:
            yield word
            if word == "--":
                yield from rest
                return
            continue
        values = [value] if is_joined else []
        values += _one_text(rest, values, known) if option == _TEXT else _files(rest)
        if not values:
            raise typer.BadParameter(
                "needs a file or URL; write ./-name for a name that begins with -", param_hint=option
            )
        yield from (f"{option}={each}" for each in values)


def _one_text(rest: deque[str], values: list[str], known: Collection[str]) -> list[str]:
    """Take the text of --text, which may begin with "-", unless it is joined to the option."""
    if not values:
        if not rest or rest[0] in known:
            raise typer.BadParameter("needs a text", param_hint=_TEXT)
        values = [rest.popleft()]
        taken = values
    else:
        taken = []
    if rest and not rest[0].startswith("-"):
        fault = "takes one text: write quotation marks around it, and repeat the option for another text"
        raise typer.BadParameter(fault, param_hint=_TEXT)
    return taken


def _files(rest: deque[str]) -> list[str]:
    """Take the values up to the next option; after "--", all words."""
    values = []
    while rest and (rest[0] == STDIN or not rest[0].startswith("-")):
        values.append(rest.popleft())
    if rest and rest[0] == "--":
        values += list(rest)[1:]
        rest.clear()
    return values
