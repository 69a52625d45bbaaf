"""buildah and podman with a store of their own, without a daemon and a registry."""

import dataclasses
import hashlib
import json
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

DRIVERS = ("overlay", "vfs")  # the second works on any file system, and copies every layer

_ENOUGH = 20_000


class CommandFailed(Exception):
    """A command ended badly, or not in time; the text has its last lines."""


@dataclasses.dataclass
class Engine:
    """The commands, on a store below `directory`.

    Attributes:
        driver: how the store keeps layers.
    """

    directory: Path
    driver: str

    @classmethod
    def on(cls, directory: Path) -> "Engine":
        """One with the first driver that works there, cleared of what an earlier run was kept from clearing."""
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
        """Where podman keeps what is running: not below the directory, whose name may be longer than podman allows."""
        return Path("/run", "embedwire-" + hashlib.sha256(str(self.directory).encode()).hexdigest()[:8])

    def buildah(self, *words: object, seconds: float = 60) -> str:
        return self.run("buildah", *self._store, *words, seconds=seconds)

    def podman(self, *words: object, seconds: float = 60) -> str:
        return self.run(*self._podman, *words, seconds=seconds)

    def in_container(self, *words: object, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
        """`podman exec`, or anything else that may well fail."""
        return self._ended(*self._podman, *words, seconds=seconds)

    @property
    def _podman(self) -> list[str]:
        # crun wants one hierarchy of cgroups and systemd wants to be asked; runc and cgroupfs work with and without.
        kind = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"]
        environment = ["env", f"CONTAINERS_CONF={self.directory / 'containers.conf'}"]
        return [*environment, "podman", *self._store, "--tmpdir", str(self._state / "tmp"), *kind]

    def run(self, *words: object, seconds: float = 60) -> str:
        """Run any command and give its output.

        Raises:
            CommandFailed: it ended badly, or not in time.
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
        """What `podman image inspect` tells."""
        found: list[dict[str, Any]] = json.loads(self.podman("image", "inspect", image))
        return found[0]

    def clear(self) -> None:
        """End containers, remove them and images without a name, and unmount the store."""
        self.podman("rm", "--all", "--force", "--volumes", "--time", "0")
        self.buildah("rm", "--all")
        self.podman("image", "prune", "--force")
        if (mounted := self.directory / self.driver / self.driver).is_mount():
            self.run("umount", mounted)
        shutil.rmtree(self._state, ignore_errors=True)


def _most(name: str) -> int:
    """So many for a container: podman's own default cannot be had where limits may not be raised."""
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    return _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
