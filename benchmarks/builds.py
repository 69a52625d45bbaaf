"""Installed gateways: of this tree and of the commit to compare with."""

import dataclasses
import functools
import os
import subprocess
from pathlib import Path
from typing import Self

from benchmarks.processes import Command
from embedwire_server.config.renamed_settings import RENAMED
from embedwire_server.config.setting_table import ALL

_OLD_NAMES = {new: old for old, new in RENAMED.items()}


@dataclasses.dataclass(frozen=True)
class Build:
    """A virtual environment with a gateway in it.

    Args:
        name: name in reports.
        directory: of the virtual environment.
    """

    name: str
    directory: Path

    @classmethod
    def of_commit(cls, directory: Path) -> Self:
        """Return the build that the Makefile made, in a directory named after the commit."""
        return cls(directory.parent.name[:8], directory)

    @property
    def python(self) -> Path:
        return self.directory / "bin/python"

    @property
    def serve(self) -> Command:
        return (self.python, self.directory / "bin/embedwire-server", "serve")

    def app(self, module: str) -> Command:
        """Return the same command line with another composition root, a module of this benchmark."""
        return (self.python, "-m", module, "serve")

    def flag(self, setting: str) -> str | None:
        """Return this commit's flag of a setting, which may have an older name; None if it has no such setting."""
        known = set(self._help.replace(",", " ").replace("[", " ").split())
        flag, old = (f"--{name.replace('_', '-')}" for name in (setting, _OLD_NAMES.get(setting, setting)))
        if flag in known or setting not in ALL:  # the command refuses unknown flags
            return flag
        return old if old in known else None

    def evict(self) -> None:
        """Remove its files from the page cache, so that the next start reads them.

        Files that pip has just written are cached in larger folios than files that were read. The kernel maps more of
        a large folio in one step: the same server had 74 or 84 MiB of resident memory.
        """
        os.sync()  # dirty pages would not be evicted
        for path in self.directory.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @functools.cached_property
    def _help(self) -> str:
        return subprocess.run([*self.serve, "--help"], capture_output=True, text=True, check=True).stdout


THIS = Build("this", Path("build/server"))
