"""Building blocks of settings: the base class of groups, markers, and types of fields such as durations."""

import dataclasses
import decimal
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from embedwire_server.core.address import parse_address

MAX_COUNT = 1 << 53  # largest exact integer of a metric
MIB = 1 << 20


_MAX_SECONDS = 1e9  # 30 years; within the range of clocks and timers
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Marker:
    """Marks a setting, in the annotation of its field."""


RELOADED = Marker()  # applied without a restart
DIVIDED = Marker()  # a limit for all workers together: each gets a share


@dataclasses.dataclass(frozen=True, slots=True)
class ValueName(Marker):
    """Placeholder of the value in help texts, such as FILE."""

    text: str


DURATION = ValueName("DURATION")  # a number of seconds, written as 30s or 2m


def seconds_of(value: object) -> object:
    """Parse a duration, such as 30s, 1.5h or 1h30m. Numbers are seconds.

    Raises:
        ValueError: it is a string in another format.
    """
    if not isinstance(value, str):
        return value
    if _DURATION.fullmatch(value):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, value))
    if not _NUMBER.fullmatch(value):
        raise ValueError("must be a duration, such as 500ms, 30s, 2m or 1h; a bare number is seconds")
    return value


def duration_text(seconds: float) -> str:
    """Format seconds as a duration that `seconds_of` parses to the same number."""
    for unit in ("h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{decimal.Decimal(repr(seconds)).normalize():f}s"  # without an exponent


Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]


ByteCount = Annotated[Count, ValueName("BYTES")]


_IN_SECONDS = BeforeValidator(seconds_of)  # after the bounds, which stay in the schema in this order


Duration = Annotated[
    float, Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False), _IN_SECONDS, AfterValidator(abs), DURATION
]  # -0.0 is 0.0


PositiveDuration = Annotated[float, Field(gt=0, le=_MAX_SECONDS, allow_inf_nan=False), _IN_SECONDS, DURATION]


LongDuration = Annotated[float, Field(ge=1, le=_MAX_SECONDS, allow_inf_nan=False), _IN_SECONDS, DURATION]


ListenAddress = Annotated[str, AfterValidator(parse_address), ValueName("HOST:PORT")]


class Group(BaseModel):
    """Settings that belong together; a table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _without_white_space(cls, value: object, info: ValidationInfo) -> object:
        """Strip white space around a value: files and YAML blocks tend to end in a newline."""
        name = info.field_name or ""
        if isinstance(value, bool) and cls.model_fields[name].annotation is not bool:
            raise ValueError(f"the value of {name} must not be true or false")
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text:
            raise ValueError(f"the value of {name} must not be empty; omit it to use the default")
        if not text.isprintable() and name != "api_key":  # has a check with a better message
            raise ValueError(
                f"the value of {name} must be printable: no line break, control character or byte order mark in it"
            )
        return text


def _check_path(path: Path, kind: str, is_kind: Callable[[Path], bool]) -> Path:
    try:
        if is_kind(path):
            return path
        text = f"is not a {kind}" if path.exists() else "does not exist"
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    raise ValueError(f"{path} {text}")


def _check_file(path: Path) -> Path:
    return _check_path(path, "file", Path.is_file)


def _check_directory(path: Path) -> Path:
    return _check_path(path, "directory", Path.is_dir)


ExistingFile = Annotated[Path, AfterValidator(_check_file), ValueName("FILE")]
ExistingDirectory = Annotated[Path, AfterValidator(_check_directory), ValueName("DIR")]
