"""Volumes of the rendered pod as directories, laid out and replaced as the kubelet does it."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import trustme

from tests.chart.rendering import Object, configuration, container
from tests.support.pki import pem


def publish(directory: Path, files: Mapping[str, bytes]) -> None:
    """Replace the files of a mounted ConfigMap or Secret.

    A timestamped directory has the files, the link `..data` names it, and the files are links through `..data`. The
    rename of a new link over `..data` replaces all of them in one step.
    """
    directory.mkdir(parents=True, exist_ok=True)
    version = directory / f"..2026_11_30_12_00_00.{len(list(directory.iterdir()))}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
        (version / name).chmod(0o440)
    (directory / "..data_tmp").symlink_to(version.name)
    (directory / "..data_tmp").rename(directory / "..data")
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


SECRETS = {  # values of variables from Secrets
    "TWELVELABS_API_KEY": "tlk_test",
    "EMBEDWIRE_QUOTA_STORE": "rediss://:secret@redis.example:6380/0",
    "EMBEDWIRE_CACHE_STORE": "redis://:secret@redis.example:6379/1",
}


class Mounts:
    """The volumes of a pod below a directory of the test.

    Args:
        root: the directory.
        found: the rendered objects.
    """

    def __init__(self, root: Path, found: list[Object]) -> None:
        self._root = root
        self._found = found
        for mount in container(found)["volumeMounts"]:
            self.path(mount["mountPath"]).mkdir(parents=True)
        (root / "etc/company").mkdir(parents=True, exist_ok=True)
        (root / "etc/company/ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
        self.write_configuration(configuration(found))
        self.write_certificate(trustme.CA())

    def path(self, inside: str) -> Path:
        """Return where a path of the container is."""
        return self._root / inside.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the container, with the paths of the test, and those of Secrets with values of the test."""
        variables = {each["name"]: each.get("value") or SECRETS[each["name"]] for each in container(self._found)["env"]}
        return {name: str(self.path(text)) if text.startswith("/") else text for name, text in variables.items()}

    async def config_check(self) -> tuple[int | None, str, str]:
        """Run `config check` in the environment of the container alone; return exit code, output and errors."""
        variables = [f"{name}={text}" for name, text in self.environment.items()]
        process = await asyncio.create_subprocess_exec(
            *("env", "-i", *variables, sys.executable, "-m", "embedwire_server", "config", "check"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()

    def write_configuration(self, text: str) -> None:
        """Replace the configuration file; its paths become those of the test."""
        moved = text.replace('"/etc/', f'"{self._root}/etc/')
        publish(self.path("/etc/embedwire"), {"embedwire.toml": moved.encode()})

    def write_certificate(self, authority: trustme.CA) -> None:
        """Replace the files of the certificate, in the keys of cert-manager."""
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        files = {"tls.crt": pem(leaf), "tls.key": leaf.private_key_pem.bytes(), "ca.crt": authority.cert_pem.bytes()}
        publish(self.path("/etc/embedwire-tls"), files)
