"""Installed gateways: this tree's, and another commit's to compare it with."""

import dataclasses
import functools
import subprocess
from pathlib import Path
from typing import Self

from bench.processes import Command


@dataclasses.dataclass(frozen=True)
class Build:
    """A virtual environment with a gateway in it.

    Args:
        name: what reports call it.
        directory: of the virtual environment.
    """

    name: str
    directory: Path

    @classmethod
    def of_commit(cls, directory: Path) -> Self:
        """As the Makefile has built it, in a directory named after the commit."""
        return cls(directory.parent.name[:8], directory)

    @property
    def python(self) -> Path:
        return self.directory / "bin/python"

    @property
    def serve(self) -> Command:
        return (self.python, self.directory / "bin/embedwire-server", "serve")

    def app(self, module: str) -> Command:
        """The same command line with another composition root, a module of this benchmark."""
        return (self.python, "-m", module, "serve")

    def has_flag(self, flag: str) -> bool:
        """Whether this commit's `serve` knows a flag."""
        return flag in self._help.replace(",", " ").replace("[", " ").split()

    @functools.cached_property
    def _help(self) -> str:
        return subprocess.run([*self.serve, "--help"], capture_output=True, text=True, check=True).stdout


THIS = Build("this", Path("build/server"))
