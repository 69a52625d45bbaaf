"""The contents of the image."""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from embedwire_server import __version__
from tests.image.container import SPOOL, UID
from tests.image.stage import REPOSITORY, Stage, check
from tests.system.verdict import Verdict

# Compilers and build tools, installers of Python packages, and download tools.
_TOOLS = {
    "cc",
    "c++",
    "gcc",
    "g++",
    "cpp",
    "clang",
    "tcc",
    "as",
    "ld",
    "ar",
    "make",
    "cmake",
    "ninja",
    "cargo",
    "rustc",
    "go",
}
_TOOLS |= {"pip", "pip3", "pipx", "uv", "poetry", "conda", "wheel", "easy_install", "hatch", "hatchling", "npm", "node"}
_TOOLS |= {"git", "curl", "wget", "ssh", "nc", "buildah", "podman", "sudo"}
_PROGRAM = re.compile(r"([a-z+_-]+?)(?:-?[\d.]+)?")  # gcc-12, pip3.11
_INSTALLERS = {"pip", "setuptools", "wheel", "ensurepip", "hatchling", "pkg_resources", "_distutils_hack"}
_LEFTOVERS = re.compile(
    r"^/(?:var/lib/apt/lists|var/cache/apt|root/\.cache|src|opt/pip)/.|\.(?:deb|whl)$|/\.git/|/tests/image/"
)
_WRITABLE_BY_ALL = {"/tmp", "/var/tmp", "/run/lock"}  # world-writable in every Debian; read-only with a read-only root

_VERSIONS = """
import importlib.metadata, json
print(json.dumps({found.name: found.version for found in importlib.metadata.distributions()}))
"""
_UNCOMPILED = """
import importlib.util, json, pathlib, sys
import embedwire_sandbox, embedwire_server.cli, embedwire_server.process.supervisor
modules = [module for module in sys.modules.values()
    if str(getattr(module, "__file__", "")).endswith(".py") and module.__spec__.origin != "frozen"]
print(json.dumps([len(modules), [module.__name__ for module in modules
    if not pathlib.Path(importlib.util.cache_from_source(module.__file__)).exists()]]))
"""


@check("size")
async def its_size(stage: Stage) -> Verdict:
    """It is small, unpacked and compressed, and is built fast."""
    own = (stage.facts["Size"] - stage.engine.facts(stage.base)["Size"]) / 1e6
    pushed = stage.engine.directory / "pushed"
    stage.engine.buildah("push", "--compression-format", "gzip", stage.image, f"dir:{pushed}", seconds=300)
    packed = {layer["digest"]: layer["size"] / 1e6 for layer in _layers(pushed)}
    shutil.rmtree(pushed)
    verdict = Verdict()
    verdict.at_most(f"MB on top of the {stage.facts['Size'] / 1e6 - own:.0f} MB of its base", own, 190, "{:.0f}")
    verdict.at_most("MB compressed, the base included", sum(packed.values()), 150, "{:.0f}")
    verdict.at_most("s to build", stage.build_seconds, 600, "{:.0f}")
    return verdict


def _layers(pushed: Path) -> list[dict[str, int]]:
    layers: list[dict[str, int]] = json.loads((pushed / "manifest.json").read_text())["layers"]
    return layers


@check("configuration")
async def its_configuration(stage: Stage) -> Verdict:
    """It declares its user, process 1, stop signal, health check and ports."""
    config, health = stage.facts["Config"], stage.facts["Healthcheck"]
    verdict = Verdict()
    verdict.exactly("is the user", config["User"], f"{UID}:{UID}")
    verdict.exactly("is process 1", " ".join(config["Entrypoint"] + config["Cmd"]), "embedwire-server serve")
    verdict.exactly("stops it", config["StopSignal"], "SIGTERM")
    verdict.exactly("asks for its health", " ".join(health["Test"]), "CMD embedwire-server health")
    verdict.at_least("s between two such questions", health["Interval"] / 1e9, 10)
    verdict.exactly("is its volume", " ".join(config["Volumes"]), SPOOL)
    verdict.exactly("are its ports", " ".join(sorted(config["ExposedPorts"])), "50051/tcp 50052/tcp 9464/tcp")
    verdict.exactly("is its version", config["Labels"]["org.opencontainers.image.version"], __version__)
    return verdict


@check("contents")
async def what_is_not_in_it(stage: Stage) -> Verdict:
    """No compiler, no installer, no build files, no setuid program or capability, no file that its user may write."""
    with stage.file_system() as root:
        files = [(f"/{path.relative_to(root)}", path.lstat()) for path in _files(root)]
        rights = [name for name, status in files if status.st_mode & 0o6000 and stat.S_ISREG(status.st_mode)]
        rights += [name for name, _ in files if _has_capabilities(root / name[1:])]
    names = [name for name, _ in files]
    programs = [name for name, status in files if "/bin/" in name or "/sbin/" in name if status.st_mode & 0o111]
    verdict = Verdict()
    verdict.at_least("files looked at", len(files), 3000)
    _none(verdict, "compilers, installers and other tools", [name for name in programs if _is_tool(name)])
    _none(verdict, "packages that install", [name for name in names if "/python" in name and _is_installer(name)])
    _none(verdict, "left over from the build", [name for name in names if _LEFTOVERS.search(name)])
    _none(verdict, "setuid, setgid or with capabilities", rights)
    _none(
        verdict,
        "that the user may write, but for the spool",
        [name for name, status in files if _is_writable(name, status)],
    )
    return verdict


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *names))


def _none(verdict: Verdict, what: str, found: list[str]) -> None:
    verdict.exactly(f"{what} {' '.join(found[:5])}".strip(), len(found), 0)


def _is_tool(name: str) -> bool:
    found = _PROGRAM.fullmatch(name.rpartition("/")[2])
    return found is not None and found[1] in _TOOLS


def _is_installer(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last in _INSTALLERS or (last.endswith(".dist-info") and last.partition("-")[0] in _INSTALLERS)


def _has_capabilities(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.getxattr(path, "security.capability", follow_symlinks=False))
    return False


def _is_writable(name: str, status: os.stat_result) -> bool:
    if stat.S_ISLNK(status.st_mode) or name in {SPOOL, *_WRITABLE_BY_ALL}:
        return False
    return UID in (status.st_uid, status.st_gid) or bool(status.st_mode & 0o002)


@check("versions")
async def its_versions(stage: Stage) -> Verdict:
    """Every package has the version that requirements/runtime.txt pins, and every module has its bytecode."""
    pinned: dict[str, str] = {}
    lines = (REPOSITORY / "requirements/runtime.txt").read_text().splitlines()
    for line in (line for line in lines if "==" in line):
        requirement = Requirement(line.removesuffix("\\"))
        pinned[_normal(requirement.name)] = pinned.get(_normal(requirement.name), "") + str(requirement.specifier)
    async with stage.container() as container:
        versions = await container.python(_VERSIONS)
        modules, uncompiled = await container.python(_UNCOMPILED)
    ours = {versions.pop(name, "none") for name in ("embedwire", "embedwire-server")}
    other = [
        f"{name} {version}" for name, version in versions.items() if f"=={version}" not in pinned.get(_normal(name), "")
    ]
    verdict = Verdict()
    verdict.exactly(f"of {len(versions)} packages are not as pinned {' '.join(other)}".strip(), len(other), 0)
    verdict.exactly("is the version of our own", " ".join(ours), __version__)
    verdict.exactly(f"of {modules} modules without bytecode {' '.join(uncompiled[:5])}".strip(), len(uncompiled), 0)
    return verdict


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
