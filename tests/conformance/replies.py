"""Replies of the upstream in a case, and the values that a client must return: the same numbers, as float32."""

import dataclasses
import json
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One segment of a reply, as it must arrive at the client."""

    vector: bytes
    start: float | None = None
    end: float | None = None
    option: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply of the upstream.

    Attributes:
        body: the bytes.
        parts: its segments.
        ends: offset in the body of the end of each segment.
        facts: the other expected members of the result.
    """

    modality: str
    body: bytes
    parts: tuple[Part, ...]
    ends: tuple[int, ...]
    dimensions: int
    facts: dict[str, Any]


_BUILT: dict[str, Reply] = {}


def reply(name: str, spec: dict[str, Any]) -> Reply:
    """Build a reply from its description in a case; the same description gives the same object."""
    key = json.dumps([name, spec])
    if key not in _BUILT:
        _BUILT[key] = _build(name, **spec)
    return _BUILT[key]


def _build(  # one argument for each member of a description
    name: str,
    modality: str,
    segments: int = 1,
    dimensions: int = 512,
    numbers: list[str] | None = None,
    model_name: str = "marengo3.0",
    window_sec: float = 6,
    first_sec: float = 0,
    options: list[str | None] | None = None,
    *,
    has_ends: bool = True,
    metadata: dict[str, Any] | None = None,
) -> Reply:
    texts = _numbers(name, numbers, segments, dimensions)
    body = bytearray(f'{{"model_name":{json.dumps(model_name)},"{modality}_embedding":{{"segments":['.encode())
    parts, ends = [], []
    for index, literals in enumerate(texts):
        part = Part(b"".join(struct.pack("<f", float(text)) for text in literals))
        about = ""
        if modality == "audio":
            given = options or ["audio"]
            start = first_sec + index // len(given) * window_sec
            end = start + window_sec if has_ends else None
            option = given[index % len(given)]
            part = dataclasses.replace(part, start=float(start), end=end and float(end), option=option or "")
            about = f',"start_offset_sec":{start},"end_offset_sec":{json.dumps(end)},"embedding_option":'
            about += json.dumps(option)
        body += ("," if index else "").encode() + f'{{"float":[{",".join(literals)}]{about}}}'.encode()
        parts.append(part)
        ends.append(len(body))
    body += b"]" + (b',"metadata":' + json.dumps(metadata).encode() if metadata is not None else b"") + b"}}"
    named = metadata or {}
    facts = {
        "model_name": model_name,
        "input_url": named.get("input_url"),
        "input_filename": named.get("input_filename"),
    }
    return Reply(modality, bytes(body), tuple(parts), tuple(ends), dimensions, facts)


def _numbers(name: str, given: list[str] | None, segments: int, dimensions: int) -> Iterator[list[str]]:
    """Return the numbers of each segment as text: the given ones repeated, or ones derived from the name."""
    if given is not None:
        for index in range(segments):
            yield [given[(index + place) % len(given)] for place in range(dimensions)]
        return
    source = random.Random(zlib.crc32(name.encode()))
    for _ in range(segments):
        yield [repr(source.uniform(-1, 1)) for _ in range(dimensions)]
