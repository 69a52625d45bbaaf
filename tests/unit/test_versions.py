"""The version of a release, and the versions that several files state."""

import re
import tomllib
from pathlib import Path

import pytest

from embedwire_server import __version__

ROOT = Path(__file__).parents[2]
PROJECTS = [tomllib.loads((ROOT / path).read_text()) for path in ("pyproject.toml", "clients/python/pyproject.toml")]
# Every place of the version, each as a file and the pattern of its line.
PLACES = [
    ("pyproject.toml", r'^version = "(.*)"$'),
    ("pyproject.toml", r'^  "embedwire==(.*?)",'),
    ("clients/python/pyproject.toml", r'^version = "(.*)"$'),
    ("clients/typescript/package.json", r'^  "version": "(.*)",$'),
    ("clients/typescript/package-lock.json", r'"name": "@embedwire/client",\n *"version": "(.*)",$'),
    ("clients/typescript/src/version.ts", r'^export const VERSION = "(.*)";$'),
    ("clients/typescript/README.md", r"embedwire-client-([0-9][^ ]*)\.tgz"),
    ("clients/java/pom.xml", r"^  <version>(.*)</version>$"),
    ("clients/java/src/main/java/dev/embedwire/Connection.java", r'VERSION = "(.*)";$'),
    ("clients/java/README.md", r"<artifactId>embedwire-client</artifactId>\n *<version>(.*)</version>"),
    ("clients/go/connection.go", r'^const Version = "(.*)"$'),
    ("clients/go/README.md", r"clients/go[@/]v(\d+\.\d+\.\d+)"),
    ("Dockerfile", r"^ARG VERSION=(.*)$"),
    ("deploy/helm/embedwire/Chart.yaml", r"^version: (\S+)"),
    ("deploy/helm/embedwire/Chart.yaml", r'^appVersion: "(.*)"$'),
]


@pytest.mark.parametrize(("path", "pattern"), PLACES)
def test_one_version(path: str, pattern: str) -> None:
    """Every file states the version of the server."""
    assert set(re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)) == {__version__}


def test_the_build_backend() -> None:
    """The group `build` installs the build backend that both projects declare, since builds are not isolated."""
    declared = [project["build-system"]["requires"] for project in PROJECTS]

    assert declared[0] == declared[1]
    assert set(declared[0]) <= set(PROJECTS[0]["dependency-groups"]["build"])


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_pins_have_hashes(path: Path) -> None:
    """Every pinned package has a hash, and no file states an index."""
    text = path.read_text().replace("\\\n", "")
    unhashed = [line for line in text.splitlines() if not re.match(r"\S+==\S+( ; .*?)? +--hash=sha256:", line)]

    assert unhashed == []
    assert "://" not in text
    assert "--index" not in text
