"""The files of a release: complete, with right checksums and valid SBOMs."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELEASE_PYTHON = ROOT / ".venv-release/bin/python"
VALIDATE = """
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = pathlib.Path(sys.argv[1]).read_text()
error = JsonStrictValidator(SchemaVersion.from_version(sys.argv[2])).validate_str(text)
assert error is None, error
"""


def test_checksums(dist: Path) -> None:
    """SHA256SUMS lists every other file, with its checksum."""
    lines = (line.split() for line in (dist / "SHA256SUMS").read_text().splitlines())
    stated = {name: digest for digest, name in lines}
    files = {path for path in dist.iterdir() if path.name != "SHA256SUMS"}

    assert stated == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_names(dist: Path, version: str) -> None:
    """A release has the packages of all languages, an SBOM for each, and the tags of the image."""
    packages = [
        *(
            f"{name}-{version}{end}"
            for name in ("embedwire", "embedwire_server")
            for end in (".tar.gz", "-py3-none-any.whl")
        ),
        *(f"embedwire-client-{version}{end}" for end in (".tgz", ".jar", "-sources.jar", "-javadoc.jar", ".pom")),
        f"embedwire-go-{version}.zip",
    ]
    boms = [f"embedwire-{part}-{version}.cdx.json" for part in ("server", "python", "typescript", "java", "go")]

    assert {path.name for path in dist.iterdir()} == {*packages, *boms, "image-tags.txt", "SHA256SUMS"}
    assert f"embedwire:{version}" in (dist / "image-tags.txt").read_text().split()


@pytest.mark.parametrize(
    ("part", "dependency"),
    [
        ("server", "grpcio"),
        ("python", "typer"),
        ("typescript", "@grpc/grpc-js"),
        ("java", "grpc-stub"),
        ("go", "google.golang.org/grpc"),
    ],
)
def test_sbom(dist: Path, version: str, part: str, dependency: str) -> None:
    """Each SBOM is valid and lists the gRPC library or another dependency of its package."""
    path = dist / f"embedwire-{part}-{version}.cdx.json"
    bom = json.loads(path.read_text())
    validated = subprocess.run(
        [RELEASE_PYTHON, "-c", VALIDATE, path, bom["specVersion"]], capture_output=True, text=True, check=False
    )

    assert validated.returncode == 0, validated.stderr
    assert dependency in {component["name"] for component in bom["components"]}


@pytest.mark.parametrize(("project", "name"), [(".", "embedwire_server"), ("clients/python", "embedwire")])
def test_python_packages_are_reproducible(dist: Path, tmp_path: Path, version: str, project: str, name: str) -> None:
    """A second build of the same commit makes the same bytes."""
    committed = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    variables = os.environ | {"SOURCE_DATE_EPOCH": committed.stdout.strip()}  # noqa: TID251 - of the build
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / project, env=variables, capture_output=True, check=True)

    for end in (".tar.gz", "-py3-none-any.whl"):
        assert (tmp_path / f"{name}-{version}{end}").read_bytes() == (dist / f"{name}-{version}{end}").read_bytes()
