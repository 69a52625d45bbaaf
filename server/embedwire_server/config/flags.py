"""Command-line flags of the settings, for argparse."""

import argparse
import itertools
from typing import Any

from embedwire_server.config.setting_table import ALL, API_KEY, FILE_ONLY, Setting

OTHER_SOURCES = (
    "Settings are read from flags, then from environment variables (EMBEDWIRE_LISTEN for --listen), then from the file "
    "of --config. The upstream's API key is read from TWELVELABS_API_KEY. See also 'embedwire-server config reference'."
)
_NOT_FLAGS = {API_KEY, *FILE_ONLY}


def add_all(command: argparse.ArgumentParser, *, is_hidden: bool = False) -> None:
    """Add one flag for each setting, in one group for each table of the file.

    Args:
        command: parser of the command.
        is_hidden: leave the flags out of the help page.
    """
    settings = [setting for name, setting in ALL.items() if name not in _NOT_FLAGS]
    for table, members in itertools.groupby(settings, lambda setting: ".".join(setting.path[:-1])):
        group = command.add_argument_group(f"[{table}]") if table else command
        for setting in members:
            add(group, setting, is_hidden=is_hidden)


def add(group: argparse._ActionsContainer, setting: Setting, *, is_hidden: bool = False) -> None:
    """Add the flag of a setting; pydantic checks the value, so that all errors are reported together."""
    default = setting.field.default
    text = (setting.field.description or "") + ("" if default is None else f" (default: {setting.text(default)})")
    options: dict[str, Any] = {
        "default": argparse.SUPPRESS,
        "help": argparse.SUPPRESS if is_hidden else text.replace("%", "%%"),
        "metavar": setting.value_name,
        "dest": setting.name,
    }
    if setting.field.annotation is bool:
        options |= {"nargs": "?", "const": "true"}
    group.add_argument(setting.flag, **options)


def values(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the values of the flags that were given, by the names of the settings."""
    return {name: value for name, value in vars(arguments).items() if name in ALL}
