"""The generator of the samples."""

import subprocess
import sys
from pathlib import Path

import soundfile

from tests.docs.blocks import ROOT

GENERATOR = ROOT / "clients/python/examples/make_samples.py"


def test_a_long_recording(tmp_path: Path) -> None:
    """The generator writes a recording of the given duration, and the same one each time."""
    files = [tmp_path / "a.flac", tmp_path / "b.flac"]
    for file in files:
        subprocess.run([sys.executable, GENERATOR, "--recording", "2", file], check=True, timeout=60)

    assert soundfile.info(files[0]).duration == 120
    assert files[0].read_bytes() == files[1].read_bytes()
