"""Table of all settings: each with its key, flag, variable and markers."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from embedwire_server.config.fields import DIVIDED, DURATION, RELOADED, Group, Marker, ValueName, duration_text
from embedwire_server.config.settings import Settings

PREFIX = "EMBEDWIRE_"
KEY_VARIABLE = "TWELVELABS_API_KEY"
FILE_ONLY = frozenset({"models", "tokens"})
API_KEY = "api_key"
# Settings that every deployment sets have short names as flags and variables.
_SHORT: Mapping[tuple[str, ...], str] = {
    ("server", "listen"): "listen",
    ("server", "allow_insecure"): "insecure",
    ("upstream", "url"): "upstream",
    ("upstream", "api_key"): "api_key",  # never a flag; its variable is the one of the official SDK
    ("workers", "count"): "workers",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """Metadata of one setting.

    Attributes:
        path: names of its groups and of its field.
        field: declaration of the field.
    """

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def name(self) -> str:
        """Name from which the flag and the variable are formed, such as shutdown_grace_period."""
        return _SHORT.get(self.path, "_".join(self.path))

    @property
    def key(self) -> str:
        """Key in the file, such as shutdown.grace_period."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """Command-line flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Environment variable."""
        return KEY_VARIABLE if self.name == API_KEY else PREFIX + self.name.upper()

    @property
    def is_duration(self) -> bool:
        """Whether it is a number of seconds."""
        return self.has(DURATION)

    @property
    def value_name(self) -> str:
        """Placeholder of the value in help texts, such as HOST:PORT, or the choices."""
        return next(_value_names(self.field.annotation, *self.field.metadata), "N")

    def text(self, value: Any) -> str:  # noqa: ANN401 - of any type
        """Format a value as a flag or a variable takes it."""
        if self.is_duration:
            return duration_text(value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def has(self, marker: Marker) -> bool:
        """Whether its declaration has this marker."""
        return marker in self.field.metadata

    def of(self, settings: Settings) -> Any:  # noqa: ANN401 - of any type
        """Return the value of this setting."""
        return functools.reduce(getattr, self.path, settings)


def _value_names(*parts: object) -> Iterator[str]:
    """Yield the placeholders of an annotation and its metadata, also those of the members of a union."""
    for part in parts:
        if isinstance(part, ValueName):
            yield part.text
        elif part is bool:
            yield "true|false"
        elif get_origin(part) is Literal:
            yield "|".join(get_args(part))
        elif get_origin(part) in {Annotated, Union, UnionType}:
            yield from _value_names(*get_args(part))


def _declared(group: type[Group], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            yield from _declared(kind, (*path, name))
        else:
            yield Setting((*path, name), field)


ALL: Mapping[str, Setting] = {setting.name: setting for setting in _declared(Settings)}
BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in ALL.values()}
RELOADABLE = tuple(setting for setting in ALL.values() if setting.has(RELOADED))
SHARED = tuple(setting for setting in ALL.values() if setting.has(DIVIDED))
RATE_LIMITS = tuple(setting for setting in ALL.values() if setting.path[0] == "rate_limits")


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """Move values, named as flags, into their groups. Unknown names stay at the top."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = ALL[name].path if name in ALL else (name,)
        table = found
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
    return found


def changed(settings: Settings, values: Mapping[str, object]) -> Settings:
    """Return the settings with other values, named as flags, which must be valid."""
    found: Settings = _changed(settings, nested(values))
    return found


def _changed(group: Group, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the type of the group
    update = {
        name: _changed(old, value) if isinstance(old := getattr(group, name), Group) else value
        for name, value in values.items()
    }
    return group.model_copy(update=update)
