"""The inputs of a batch: JSON lines, Parquet and a folder, with some broken entries, and what their output must be."""

import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.support.media import flac, wav
from tests.system.answers import chance
from tests.system.batch_upstream import REJECTED, identity

MODALITIES = ("text", "image", "audio")
SUFFIXES = {"text": ("txt",), "image": ("png", "jpg"), "audio": ("flac", "wav")}
LINES, ROWS, FOLDER = "lines.jsonl", "rows.parquet", "folder"
BROKEN_FILE = b"this is no media file "
# Of ten inputs: the number of those in JSON lines, in Parquet and in the folder.
_SOURCES = (LINES,) * 5 + (ROWS,) * 3 + (FOLDER,) * 2


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """An input: its number within its modality determines its content.

    Attributes:
        is_broken: whether it cannot be embedded.
    """

    modality: str
    number: int
    is_broken: bool

    @property
    def content(self) -> bytes:
        """Return the content of the input if it is not broken."""
        return _CONTENTS[self.modality](self.number)

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.modality][self.number % len(SUFFIXES[self.modality])]

    @property
    def name(self) -> str:
        return f"{self.modality}/{self.number:06}.{self.suffix}"


class Expected(NamedTuple):
    """What the output must have of an input."""

    modality: str
    identity: bytes


@dataclasses.dataclass
class Inputs:
    """The inputs of a batch.

    Attributes:
        sources: locations for the command.
        embedded: the inputs that can be embedded, by key.
        broken: keys of the others.
    """

    sources: list[Path]
    embedded: dict[str, Expected] = dataclasses.field(default_factory=dict)
    broken: set[str] = dataclasses.field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self.embedded) + len(self.broken)

    def expect(self, item: Item, key: str) -> None:
        if item.is_broken:
            self.broken.add(key)
        else:
            self.embedded[key] = Expected(item.modality, identity(item.modality, item.content))


def write(folder: Path, counts: tuple[int, int, int], seed: int, broken: float = 0.0) -> Inputs:
    """Write the sources.

    Args:
        folder: an empty folder for them.
        counts: numbers of texts, images and recordings.
        seed: decides which ones are broken.
        broken: share of the broken ones.
    """
    inputs = Inputs([folder / name for name in (LINES, ROWS, FOLDER)])
    items: dict[str, list[Item]] = {name: [] for name in (LINES, ROWS, FOLDER)}
    for modality, count in zip(MODALITIES, counts, strict=True):
        for number in range(count):
            is_broken = chance(seed, "broken", modality, number) < broken
            items[_SOURCES[number % len(_SOURCES)]].append(Item(modality, number, is_broken))
    _write_lines(folder / LINES, items[LINES], inputs)
    _write_rows(folder / ROWS, items[ROWS], inputs)
    _write_folder(folder / FOLDER, items[FOLDER], inputs)
    return inputs


def write_texts(folder: Path, count: int) -> Inputs:
    """Write JSON lines with texts only."""
    inputs = Inputs([folder / LINES])
    _write_lines(folder / LINES, [Item("text", number, is_broken=False) for number in range(count)], inputs)
    return inputs


def write_recordings(folder: Path, count: int) -> Inputs:
    """Write a folder with recordings only."""
    inputs = Inputs([folder / FOLDER])
    _write_folder(folder / FOLDER, [Item("audio", number, is_broken=False) for number in range(count)], inputs)
    return inputs


def _text(number: int) -> bytes:
    return f"Text {number}: {'Grüße 🙂 ' * (number % 7)}the rest of its content.".encode()


def _image(number: int) -> bytes:
    out = io.BytesIO()
    picture = Image.new("RGB", (128 + number % 32, 128 + number // 32), (number % 256, 60, 20))
    picture.save(out, "PNG" if number % 2 == 0 else "JPEG")
    return out.getvalue()


def _audio(number: int) -> bytes:
    return (flac if number % 2 == 0 else wav)(4.0, 200.0 + 10 * number)


_CONTENTS: dict[str, Callable[[int], bytes]] = {"text": _text, "image": _image, "audio": _audio}

_BROKEN_TEXTS: tuple[dict[str, object], ...] = (
    {"text": ""},
    {"text": REJECTED},
    {},
    {"text": 7},
    {"text": "one", "image": "two.png"},
    {"text": "half of a surrogate pair \ud800"},
)


def _write_lines(path: Path, items: list[Item], inputs: Inputs) -> None:
    """Write JSON lines: texts in the lines, and the paths of files. Each tenth line has no key."""
    kinds = itertools.cycle((*_BROKEN_TEXTS, None))
    lines = []
    for row, item in enumerate(items):
        fields = _line(item, kinds, path.parent)
        key = f"{path.name}:{row}" if row % 10 == 0 or fields is None else f"line-{row}"
        lines.append("{not JSON" if fields is None else json.dumps(({} if ":" in key else {"key": key}) | fields))
        inputs.expect(item, key)
    path.write_text("\n".join(lines) + "\n")


def _line(item: Item, kinds: Iterator[dict[str, object] | None], folder: Path) -> dict[str, object] | None:
    """Return the fields of a line, and write its file; None for one that is not JSON."""
    if item.modality == "text":
        return next(kinds) if item.is_broken else {"text": item.content.decode()}
    if not (item.is_broken and item.number % 2 == 0):  # else the file is missing
        _write_file(folder / "files" / item.name, item)
    return {item.modality: f"files/{item.name}"}


def _write_rows(path: Path, items: list[Item], inputs: Inputs) -> None:
    """Write Parquet: texts and the bytes of files; a broken text is empty, null or rejected by the upstream."""
    columns: dict[str, list[object]] = {name: [] for name in ("key", *MODALITIES)}
    kinds = itertools.cycle(("", None, REJECTED))
    for row, item in enumerate(items):
        values: dict[str, object] = {"key": f"row-{row}"}
        if item.modality == "text":
            values["text"] = next(kinds) if item.is_broken else item.content.decode()
        else:
            values[item.modality] = _broken_file(item) if item.is_broken else item.content
        for name, column in columns.items():
            column.append(values.get(name))
        inputs.expect(item, f"row-{row}")
    binary = pa.binary()
    schema = pa.schema([("key", pa.string()), ("text", pa.string()), ("image", binary), ("audio", binary)])
    pq.write_table(pa.table(columns, schema), path, row_group_size=1000)


def _write_folder(path: Path, items: list[Item], inputs: Inputs) -> None:
    for item in items:
        _write_file(path / item.name, item)
        inputs.expect(item, item.name)


def _write_file(path: Path, item: Item) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_broken_file(item) if item.is_broken else item.content)


def _broken_file(item: Item) -> bytes:
    """Return an empty file, or one that no decoder accepts."""
    return b"" if item.modality == "text" or item.number % 4 < 2 else BROKEN_FILE + str(item.number).encode()
