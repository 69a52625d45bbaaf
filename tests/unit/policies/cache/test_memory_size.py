"""The limit of the cache in memory is that of its resident memory."""

import subprocess
import sys

import pytest

from tests.programs import full_cache

MAX_BYTES = 32 << 20


@pytest.mark.parametrize(
    ("dimensions", "segments"), [(512, 1), (128, 1), (1024, 1), (512, 50)], ids=["text", "short", "long", "audio"]
)
def test_resident_memory(dimensions: int, segments: int) -> None:
    """A full cache, whose results were replaced once, has its limit as resident memory, within 20 %."""
    command = [sys.executable, "-m", full_cache.__name__, str(dimensions), str(segments), str(MAX_BYTES)]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    resident, counted = map(int, output.split())
    assert 0.95 * MAX_BYTES < counted <= MAX_BYTES
    assert resident == pytest.approx(MAX_BYTES, rel=0.2)
