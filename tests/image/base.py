"""The base image of the Dockerfile, under its original name."""

import configparser
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.image.engine import CommandFailed, Engine

_SUITE, _PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_OF_THE_KERNEL = ("proc", "sys", "dev")
_LEFT_OUT = (*(f"{name}/*" for name in _OF_THE_KERNEL), "var/cache/apt/*", "var/lib/apt/lists/*", "var/cache/debconf/*")


def name_in(dockerfile: Path) -> str:
    """Return the default base image of the Dockerfile."""
    return str(re.findall(r"^ARG BASE_IMAGE=(\S+)$", dockerfile.read_text(), re.MULTILINE)[0])


def ensure(engine: Engine, name: str) -> str:
    """Ensure that it is in the store and can install packages as this machine does; return its origin."""
    recipe = hashlib.sha256(f"{_SUITE} {_PACKAGES} {_LEFT_OUT} {_pip_configuration()}".encode()).hexdigest()[:16]
    labels = (engine.facts(name)["Labels"] or {}) if engine.has(name) else {}
    if labels.get("recipe") == recipe:
        return str(labels["origin"])
    try:
        engine.buildah("pull", "--policy", "always", name, seconds=300)
    except CommandFailed as fault:
        origin = f"Debian {_SUITE} with {_PACKAGES}, since {str(fault).rpartition(': ')[2]}"
        container = _of_packages(engine)
    else:
        origin = "the registry"
        container = engine.buildah("from", name)
    _adapt(engine, container)
    engine.buildah("config", "--label", f"recipe={recipe}", "--label", f"origin={origin}", container)
    engine.buildah("commit", "--format", "docker", container, name, seconds=300)
    engine.buildah("rm", container)
    return origin


def _of_packages(engine: Engine) -> str:
    """Build Python on a minimal Debian from packages, for a machine without a registry."""
    root, packed = engine.directory / "base", engine.directory / "base.tar"
    shutil.rmtree(root, ignore_errors=True)
    engine.run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, root, seconds=900)
    left_out = [f"--exclude=./{pattern}" for pattern in _LEFT_OUT]
    engine.run("tar", "-C", root, "--one-file-system", *left_out, "-cf", packed, ".", seconds=300)
    container = engine.buildah("from", "scratch")
    engine.buildah("add", container, packed, "/", seconds=300)
    engine.buildah("config", "--env", _PATH, container)
    shutil.rmtree(root)
    packed.unlink()
    return container


def _adapt(engine: Engine, container: str) -> None:
    """Give pip in a build the indexes of this machine, which are no part of the Dockerfile."""
    written = engine.directory / "pip.conf"
    written.write_text(_pip_configuration())
    engine.buildah("copy", container, written, "/etc/pip.conf")
    engine.buildah("copy", container, _AUTHORITIES, _AUTHORITIES)


def _pip_configuration() -> str:
    """Return the pip configuration of this machine as a file; certificates are where `_adapt` puts them."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    wanted = r"^(?:global|install|:env:)\.(index-url|extra-index-url|trusted-host|proxy|timeout)='(.*)'$"
    configuration = configparser.RawConfigParser()
    configuration["global"] = {"cert": str(_AUTHORITIES)} | dict(re.findall(wanted, listed, re.MULTILINE))
    lines = [f"{name} = {value}" for name, value in configuration["global"].items()]
    return "\n".join(["[global]", *lines, ""])
