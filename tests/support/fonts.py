"""Font cache of matplotlib, which `embedwire plot` reads."""

import subprocess
import sys
from pathlib import Path


def build_font_cache(directory: Path) -> None:
    """Build it in an MPLCONFIGDIR: if a command that builds it needs more than 5 s, it writes a warning to stderr."""
    command = [sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(command, env={"MPLCONFIGDIR": str(directory)}, capture_output=True, check=True)
