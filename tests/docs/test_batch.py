"""The terminal and the JSON lines that the page of batches shows."""

import io
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from embedwire.batch import Progress
from embedwire.cli.batch.display import BatchDisplay
from embedwire.cli.batch.log import BatchLog
from tests.docs.blocks import ROOT, blocks
from tests.docs.owners import owned

PAGE = ROOT / "docs/batch.md"
RUNNING = Progress(
    total=20_540,
    embedded=4_412,
    resumed=8_000,
    failed=12,
    retries=41,
    segments=4_700,
    in_flight=256,
    seconds=31.0,
    per_second=142.3,
    eta=57.2,
)
DOWN = replace(RUNNING, per_second=61.2, eta=132.8, in_flight=0, waiting=12.4, reason="UNAVAILABLE")
# The screens in the order of the page, and whether the batch stops.
SCREENS: Sequence[tuple[Progress, bool]] = (
    (RUNNING, False),
    (DOWN, False),
    (replace(DOWN, reason="UPSTREAM_UNAVAILABLE"), False),
    (RUNNING, True),
)


def screen(progress: Progress, *, is_stopping: bool) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    display = BatchDisplay(console, lambda: progress)
    if is_stopping:
        display.stopping()
    with console.capture() as captured:
        console.print(display)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def test_screens_are_those_of_the_display() -> None:
    """Each block of the page is what the display shows in 80 columns; the failure prints the right block."""
    shown = [block.text for block in owned(blocks(), "tests/docs/test_batch.py")]
    right = [screen(progress, is_stopping=is_stopping) for progress, is_stopping in SCREENS]

    assert shown == right, "\n".join(right)
    assert all(len(line) <= 80 for text in right for line in text.splitlines())


def test_fields_of_json_lines_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of the page has the fields of a line of progress, and no others."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, os.fdopen(writer, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with BatchLog(lambda: RUNNING, 60):
            pass
        written = json.loads(lines.readline())
    table = PAGE.read_text().partition("| field | content |")[2].partition("\n\n")[0]
    described = [word.strip("` ") for line in table.splitlines()[2:] for word in line.split("|")[1].split(",")]

    assert sorted(described) == sorted(written)
    assert "embedwire-batch-log" not in [thread.name for thread in threading.enumerate()]
