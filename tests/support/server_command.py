"""Runs the server's command to its end."""

import subprocess
import sys
from typing import IO


def run(*words: str, stdout: IO[bytes] | int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `embedwire-server` with these words and no other environment; return its exit code and output."""
    command = [sys.executable, "-m", "embedwire_server", *words]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, check=False
    )
