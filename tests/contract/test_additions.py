"""The likely additions of the next year break no caller: the contract's own checks pass them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import additions

BUF = Path(sys.executable).with_name("buf")


@pytest.fixture
def proto(tmp_path: Path) -> Path:
    """The contract with the additions."""
    return additions.write(tmp_path)


@pytest.mark.parametrize("check", ["lint", "format --diff --exit-code", "breaking --against"])
def test_checks_of_the_contract(proto: Path, check: str) -> None:
    """`buf lint`, `buf format` and `buf breaking` accept the additions."""
    name, *options = check.split()
    against = [str(additions.PROTO / "released.binpb")] if name == "breaking" else []
    ran = subprocess.run([str(BUF), name, str(proto), *options, *against], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_removal_is_found(proto: Path) -> None:
    """`buf breaking` rejects a field that is renamed or gets another type."""
    path = proto / additions.EMBEDDING
    path.write_text(path.read_text().replace("int32 dimensions = 1;", "int64 dimension = 1;"))
    command = [str(BUF), "breaking", str(proto), "--against", str(additions.PROTO / "released.binpb")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "dimensions" in ran.stdout
