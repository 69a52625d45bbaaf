"""buildah and podman with a separate store, without a daemon and a registry."""

import dataclasses
import hashlib
import json
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

DRIVERS = ("overlay", "vfs")  # the second one works on any file system, but copies every layer

_ENOUGH = 20_000


class CommandFailed(Exception):
    """A command failed or timed out; the message has its last lines."""


@dataclasses.dataclass
class Engine:
    """The commands, with a store below `directory`.

    Attributes:
        driver: storage driver of the layers.
    """

    directory: Path
    driver: str

    @classmethod
    def on(cls, directory: Path) -> "Engine":
        """Return an engine with the first driver that works there, after removal of remains of an earlier run."""
        directory.mkdir(parents=True, exist_ok=True)
        limits = ", ".join(f'"{name}={_most(name)}:{_most(name)}"' for name in ("nofile", "nproc"))
        (directory / "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{limits}]\n")
        faults = []
        for driver in DRIVERS:
            engine = cls(directory, driver)
            try:
                engine.buildah("info")
            except CommandFailed as fault:
                faults.append(f"{driver}: {fault}")
            else:
                engine.clear()
                return engine
        raise CommandFailed("no storage driver works here:\n" + "\n".join(faults))

    @property
    def _store(self) -> list[str]:
        return [
            "--root",
            f"{self.directory / self.driver}",
            "--runroot",
            f"{self._state}",
            "--storage-driver",
            self.driver,
        ]

    @property
    def _state(self) -> Path:
        """Return the directory of podman's run state: not below `directory`, which may be too long for podman."""
        return Path("/run", "embedwire-" + hashlib.sha256(str(self.directory).encode()).hexdigest()[:8])

    def buildah(self, *words: object, seconds: float = 60) -> str:
        return self.run("buildah", *self._store, *words, seconds=seconds)

    def podman(self, *words: object, seconds: float = 60) -> str:
        return self.run(*self._podman, *words, seconds=seconds)

    def in_container(self, *words: object, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run `podman exec` or another command that may fail."""
        return self._ended(*self._podman, *words, seconds=seconds)

    @property
    def _podman(self) -> list[str]:
        # crun requires the unified cgroup hierarchy, the systemd manager a session; runc and cgroupfs work everywhere.
        kind = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"]
        environment = ["env", f"CONTAINERS_CONF={self.directory / 'containers.conf'}"]
        return [*environment, "podman", *self._store, "--tmpdir", str(self._state / "tmp"), *kind]

    def run(self, *words: object, seconds: float = 60) -> str:
        """Run any command and return its output.

        Raises:
            CommandFailed: it failed or timed out.
        """
        ended = self._ended(*words, seconds=seconds)
        if ended.returncode:
            last = "\n".join((ended.stdout + ended.stderr).splitlines()[-20:])
            raise CommandFailed(f"{' '.join(map(str, words))}: ended with {ended.returncode}:\n{last}")
        return ended.stdout.strip()

    def _ended(self, *words: object, seconds: float) -> "subprocess.CompletedProcess[str]":
        command = [*map(str, words)]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as fault:
            raise CommandFailed(f"{' '.join(command)}: no end after {seconds:g} s") from fault

    def has(self, image: str) -> bool:
        return bool(self.buildah("images", "--quiet", "--filter", f"reference={image}"))

    def facts(self, image: str) -> dict[str, Any]:
        """Return the output of `podman image inspect`."""
        found: list[dict[str, Any]] = json.loads(self.podman("image", "inspect", image))
        return found[0]

    def clear(self) -> None:
        """End containers, remove them and unnamed images, and unmount the store."""
        self.podman("rm", "--all", "--force", "--volumes", "--time", "0")
        self.buildah("rm", "--all")
        self.podman("image", "prune", "--force")
        if (mounted := self.directory / self.driver / self.driver).is_mount():
            self.run("umount", mounted)
        shutil.rmtree(self._state, ignore_errors=True)


def _most(name: str) -> int:
    """Return the limit for a container: podman's default fails where limits may not be raised."""
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    return _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
