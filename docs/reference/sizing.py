"""Table of the memory of a server by modality, from the results of the benchmark in docs/benchmarks.md."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "benchmarks.md"
_ROW = re.compile(r"^\| (?P<name>[^|]+) \| (?P<value>[0-9.]+) \| (?:higher|lower) \|$", re.MULTILINE)
# Modality, load, and name of the row of the benchmark.
ROWS: tuple[tuple[str, str, str], ...] = (
    ("all", "at rest", "memory at rest, MiB"),
    ("audio", "20 callers that stop reading responses of 720 segments", "20 callers that stop reading, MiB"),
    ("audio", "file of 36 MB, sent as base64", "memory: 36 MB upload as base64, MiB"),
    ("audio", "upload of 100 MB in chunks", "memory: 100 MB upload in chunks, MiB"),
    ("audio", "the same, to an upstream that reads 20 MB/s", "memory: the same, upstream of 20 MB/s, MiB"),
    ("audio", "upload of 200 MB, sent as an asset", "memory: 200 MB upload as an asset, MiB"),
    ("audio", "upload of 250 MB, sent as an asset in chunks", "memory: 250 MB upload as an asset in chunks, MiB"),
    ("audio", "response of 10 MB", "memory: 10 MB reply paced over 1 s, MiB"),
    ("audio", "result of a task of 30 MB", "memory: 30 MB result of a task, MiB"),
)


def results() -> Mapping[str, float]:
    """Return the figures of the page of the benchmark, by the name of the row."""
    return {match["name"]: float(match["value"]) for match in _ROW.finditer(RESULTS.read_text())}


def lines() -> Iterator[str]:
    """Yield the rows of the table.

    Raises:
        KeyError: the benchmark has no such row.
    """
    measured = results()
    yield "| modality | load | memory, MiB |"
    yield "|---|---|---|"
    for modality, load, row in ROWS:
        yield f"| {modality} | {load} | {measured[row]:g} |"
