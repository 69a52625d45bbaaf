"""Renders settings as text: the effective ones as TOML, and the reference table as Markdown."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

from embedwire_server.config.fields import RELOADED, duration_text
from embedwire_server.config.setting_table import ALL, API_KEY, FILE_ONLY, Setting
from embedwire_server.config.sources import Configuration

_MASKED = "**********"


def shown(configuration: Configuration) -> Iterator[str]:
    """Yield the settings as lines of TOML, each with its source; secrets are masked."""
    grouped = [setting for setting in ALL.values() if setting.name not in FILE_ONLY and setting.path[1:]]
    yield _line(ALL["config"], configuration)
    for group, settings in itertools.groupby(grouped, lambda setting: ".".join(setting.path[:-1])):
        yield ""
        yield f"[{group}]"
        yield from (_line(setting, configuration) for setting in settings)
    for name in sorted(FILE_ONLY):
        for row in ALL[name].of(configuration.settings):
            yield from ("", f"[[{name}]]", *_row(row))


def reference() -> Iterator[str]:
    """Yield the rows of the reference table of all settings, in Markdown."""
    yield "| setting: key in the file, flag, variable | default | reloaded | description |"
    yield "|---|---|---|---|"
    for name, setting in ALL.items():
        is_file_only, is_secret = name in FILE_ONLY, name == API_KEY
        flag = "" if is_file_only or is_secret else f"`{setting.flag}`"
        variable = "" if is_file_only else f"`{setting.variable}`"
        default = setting.field.default
        text = "" if default in (None, ()) else f"`{_text(setting, default)}`"
        key = "" if name == "config" else f"`[[{name}]]`" if is_file_only else f"`{setting.key}`"
        names = "<br>".join(filter(None, (key, flag, variable)))
        reloaded = "yes" if setting.has(RELOADED) else ""
        yield f"| {names} | {text} | {reloaded} | {setting.field.description} |"


def _line(setting: Setting, configuration: Configuration) -> str:
    value = setting.of(configuration.settings)
    if value is None:
        return f"# {setting.path[-1]} is not set"
    source = configuration.sources.get(setting.name, "default")
    return f"{setting.path[-1]} = {_text(setting, value)}  # {source}"


def _text(setting: Setting, value: Any) -> str:  # noqa: ANN401 - whatever a setting is
    return _toml(duration_text(value) if setting.is_duration else value)


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
