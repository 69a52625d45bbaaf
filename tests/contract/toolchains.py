"""The contract and its likely additions in the toolchains of other languages.

Not among the tests of `make test`, since it needs the toolchains that `make test-clients` needs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import additions

ROOT = Path(__file__).parents[2]
OLDEST_PROTOC, TOO_OLD_PROTOC = "3.15.0", "3.14.0"
GENERATOR = ROOT / ".venv-gen/bin/python"
GO_MODULE = "github.com/embedwire/embedwire/clients/go"
_NOT_COPIED = shutil.ignore_patterns("node_modules", "dist", "build", "target", "generated", "__pycache__")


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables added to the environment."""
    variables = os.environ | environment  # noqa: TID251 - of the tools
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=600)


def succeed(*command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run a command that must succeed."""
    ran = run(*command, cwd=cwd, **environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def protoc(version: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile the contract to Python with a version of protoc from Maven's registry, and well-known types only."""
    artifact = f"-Dartifact=com.google.protobuf:protoc:{version}:exe:linux-x86_64"
    succeed("mvn", "-q", "-B", "dependency:copy", artifact, f"-DoutputDirectory={folder}")
    program = folder / f"protoc-{version}-linux-x86_64.exe"
    program.chmod(0o755)
    found = run(GENERATOR, "-c", "import grpc_tools; print(grpc_tools.__path__[0])")
    well_known = Path(found.stdout.strip()) / "_proto"
    files = sorted((ROOT / "proto/embedwire/v1").glob("*.proto"))
    return run(program, f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--python_out={folder}", *files)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The contract with its additions, beside which tests copy a client."""
    additions.write(tmp_path)
    return tmp_path


def copy_of(client: str, folder: Path) -> Path:
    """Copy a client beside the contract with the additions."""
    copied: Path = shutil.copytree(ROOT / "clients" / client, folder / "clients" / client, ignore=_NOT_COPIED)
    return copied


def test_the_oldest_protoc(tmp_path: Path) -> None:
    """The oldest supported protoc compiles the contract, without options."""
    ran = protoc(OLDEST_PROTOC, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "embedwire/v1/embedding_pb2.py").exists()


def test_an_older_protoc(tmp_path: Path) -> None:
    """The version before does not, so that the stated minimum is the true one."""
    ran = protoc(TOO_OLD_PROTOC, tmp_path)
    assert ran.returncode != 0
    assert "optional" in ran.stderr


def test_additions_in_go(copied: Path) -> None:
    """The Go client compiles with the additions."""
    client = copy_of("go", copied)
    out = [f"--{kind}_{part}" for kind in ("go", "go-grpc") for part in (f"out={client}", f"opt=module={GO_MODULE}")]
    path = f"{ROOT}/build/go:{os.environ['PATH']}"  # noqa: TID251 - of the tools
    files = sorted((copied / "proto/embedwire/v1").glob("*.proto"))
    succeed(GENERATOR, "-m", "grpc_tools.protoc", f"-I{copied / 'proto'}", *out, *files, PATH=path)
    assert "TextImageInput" in (client / "embedwirepb/embedding.pb.go").read_text()
    succeed("go", "vet", "./...", cwd=client)


def test_additions_in_typescript(copied: Path) -> None:
    """The TypeScript client compiles with the additions."""
    client = copy_of("typescript", copied)
    (client / "node_modules").symlink_to(ROOT / "clients/typescript/node_modules")
    succeed("npm", "run", "--silent", "build:dev", cwd=client)


def test_additions_in_java(copied: Path) -> None:
    """The Java client compiles with the additions."""
    succeed("mvn", "--quiet", "--batch-mode", "test-compile", cwd=copy_of("java", copied))


def test_additions_in_python(copied: Path) -> None:
    """The Python client passes mypy and can be imported with the additions."""
    source = copy_of("python", copied) / "src"
    include = f"-I{copied / 'proto'}"
    files = sorted((copied / "proto/embedwire/v1").glob("*.proto"))
    path = f"{ROOT}/.venv-gen/bin:{os.environ['PATH']}"  # noqa: TID251 - of the tools
    outputs = (f"--python_out={source}", f"--mypy_out=quiet:{source}", f"--grpc_python_out={source}")
    succeed(
        GENERATOR, "-m", "grpc_tools.protoc", include, *outputs, f"--mypy_grpc_out=quiet:{source}", *files, PATH=path
    )
    config = ROOT / "pyproject.toml"
    succeed(sys.executable, "-m", "mypy", "--config-file", config, source / "embedwire", MYPYPATH=str(source))
    program = "import embedwire; from embedwire.v1.embedding_pb2 import TextImageInput; print(embedwire.__file__)"
    assert str(source) in run(sys.executable, "-c", program, PYTHONPATH=str(source)).stdout
