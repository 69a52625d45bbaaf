"""The settings as text: those in force as TOML, and the table that documents them."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from embedwire_server.config.settings import Settings
from embedwire_server.config.sources import Configuration, flag_of, variable

_MASKED = "**********"


def shown(configuration: Configuration) -> Iterator[str]:
    """The settings as lines of TOML, each with its place; secrets are masked."""
    tables: list[str] = []
    for name, value in configuration.settings:
        if name in Settings.FILE_ONLY:
            tables += [line for row in value for line in ("", f"[[{name}]]", *_row(row))]
        elif value is None:
            yield f"# {name} is not set"
        else:
            yield f"{name} = {_toml(value)}  # {configuration.places.get(name, 'default')}"
    yield from tables


def reference() -> Iterator[str]:
    """The rows of the table that documents all settings, in Markdown."""
    yield "| in the file | flag | variable | default | reloaded | what |"
    yield "|---|---|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        is_file_only, is_secret = name in Settings.FILE_ONLY, name == "api_key"
        flag = "" if is_file_only or is_secret else f"`{flag_of(name)}`"
        from_environment = "" if is_file_only else f"`{variable(name)}`"
        default = "" if field.default in (None, ()) else f"`{_toml(field.default)}`"
        where = "" if name == "config" else f"`[[{name}]]`" if is_file_only else f"`{name}`"
        reloaded = "yes" if name in Settings.RELOADED else ""
        yield f"| {where} | {flag} | {from_environment} | {default} | {reloaded} | {field.description} |"


def _row(row: Any) -> Iterator[str]:  # noqa: ANN401 - a dataclass
    for name, value in dataclasses.asdict(row).items():
        if value not in (None, ()):
            yield f"{name} = {_toml([_MASKED] if name == 'sha256' else value)}"


def _toml(value: Any) -> str:  # noqa: ANN401 - whatever a setting is
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items() if item is not None) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value))
