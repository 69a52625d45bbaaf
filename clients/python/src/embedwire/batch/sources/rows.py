"""Rows of a table: one input for each, in one of the fields `text`, `image` and `audio`."""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from embedwire.batch.records import InvalidRecord, Modality, Record
from embedwire.batch.sources import building
from embedwire.batch.sources.building import Fault
from embedwire.batch.sources.references import References

_OPTIONS: dict[Modality, tuple[str, ...]] = {
    "text": ("truncate",),
    "image": (),
    "audio": ("start_offset_sec", "end_offset_sec"),
}
_ALL_OPTIONS = tuple(name for names in _OPTIONS.values() for name in names)
_TRUNCATES = ("none", "start", "end")


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of a Parquet file, or of the fields of JSON lines.

    Attributes:
        key: column of the keys; without it, a key is the name of the file, ":" and the row from 0.
        text: column of texts.
        image: column of images: a path, a URL or, in Parquet, the content.
        audio: column of audio, the same.
    """

    key: str = "key"
    text: str = "text"
    image: str = "image"
    audio: str = "audio"

    @property
    def inputs(self) -> dict[Modality, str]:
        """The columns of inputs by modality."""
        return {"text": self.text, "image": self.image, "audio": self.audio}


class Rows:
    """Conversion of the rows of one table.

    Args:
        name: name of its file, for the keys of rows without a key.
        columns: names of the fields.
        references: finds the files.
        unit: what a row is called in messages, "line" or "row".
    """

    def __init__(self, name: str, columns: Columns, references: References, unit: str) -> None:
        self._name = name
        self._columns = columns
        self._references = references
        self._unit = unit

    def invalid(self, index: int, fault: str, key: str = "") -> InvalidRecord:
        """Return the record of a row that is no input.

        Args:
            index: index of the row, from 0.
            fault: the fault.
            key: its key; empty if it has none.
        """
        number = index + 1 if self._unit == "line" else index  # editors count lines from 1
        return building.invalid(key or f"{self._name}:{index}", f"{self._unit} {number}: {fault}")

    def is_remote(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a remote store is asked for the file of a row."""
        values = [fields.get(name) for name in (self._columns.image, self._columns.audio)]
        names = [value.get("path") if isinstance(value, dict) else value for value in values]
        return any(self._references.is_remote(name) for name in names)

    def record(self, index: int, fields: Mapping[str, Any]) -> Record | InvalidRecord:
        """Return the record of a row.

        Args:
            index: index of the row, from 0.
            fields: its fields by name; a missing one and None are the same.

        Raises:
            OSError: a store cannot be read.
        """
        key = ""
        try:
            key = self._key(index, fields)
            return self._record(key, fields)
        except Fault as error:
            return self.invalid(index, str(error), key)

    def _key(self, index: int, fields: Mapping[str, Any]) -> str:
        value = fields.get(self._columns.key)
        if value is None:
            return f"{self._name}:{index}"
        if isinstance(value, dict | list | tuple):
            raise Fault(f"{self._columns.key}: must be one value, not a list or an object")
        key = str(value) if not isinstance(value, bytes) else value.decode(errors="surrogateescape")
        if fault := building.key_fault(key):
            raise Fault(fault)
        return key

    def _record(self, key: str, fields: Mapping[str, Any]) -> Record:
        names = self._columns.inputs
        given = [modality for modality, name in names.items() if fields.get(name) is not None]
        if len(given) != 1:
            expected = f"exactly one of {', '.join(names.values())}"
            raise Fault(f"must have {expected}; has {_listed([names[each] for each in given])}")
        modality, value = given[0], fields[names[given[0]]]
        arguments = self._arguments(modality, fields)
        if isinstance(value, dict):
            value, arguments = _of_struct(modality, value, arguments)
        if isinstance(value, bytes):
            return building.of_bytes(key, modality, value, arguments)
        if not isinstance(value, str):
            raise Fault(f"{modality}: must be a string, got {type(value).__name__}")
        if modality == "text":
            return building.of_text(key, value, arguments)
        if not value:
            raise Fault(f"{modality}: must not be empty")
        return self._references.record(key, modality, value, arguments)

    def _arguments(self, modality: Modality, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of an input that are among the fields."""
        found = {name: fields[name] for name in _ALL_OPTIONS if fields.get(name) is not None}
        for name, value in found.items():
            if name not in _OPTIONS[modality]:
                raise Fault(f"{name}: {modality} has no such option")
            if name == "truncate" and value not in _TRUNCATES:
                raise Fault(f"truncate: must be one of {', '.join(_TRUNCATES)}")
            if name != "truncate" and (not isinstance(value, numbers.Real) or isinstance(value, bool)):
                raise Fault(f"{name}: must be a number of seconds")
        return found


def _of_struct(
    modality: Modality, value: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the content or path of {bytes, path}, as Hugging Face writes images and audio, with the file name."""
    content, path = value.get("bytes"), value.get("path")
    if content is None:
        if path is None:
            raise Fault(f"{modality}: must have bytes or a path")
        return path, dict(arguments)
    if not isinstance(content, bytes):
        raise Fault(f"{modality}: the field bytes must be binary; JSON lines have a path or URL")
    name = path.rpartition("/")[2] if isinstance(path, str) else ""
    return content, {**arguments, **({"file_name": name} if name else {})}


def option_names(modality: Modality) -> tuple[str, ...]:
    """Return the names of the fields that are options of an input."""
    return _OPTIONS[modality]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) or "none"
