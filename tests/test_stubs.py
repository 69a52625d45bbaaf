"""The committed stubs work with the oldest and the newest runtime that their package claims to support."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "clients/python"
PROGRAM = """
import grpc, google.protobuf
from embedwire.v1 import embedding_pb2 as pb, embedding_pb2_grpc
sent = pb.CreateEmbeddingRequest(model_name="m", inputs=[pb.Input(text=pb.TextInput(value="a"))], max_retries=0)
read = pb.CreateEmbeddingRequest.FromString(sent.SerializeToString())
assert read == sent and read.HasField("max_retries")
with grpc.insecure_channel("127.0.0.1:9") as channel:
    embedding_pb2_grpc.EmbeddingServiceStub(channel)
print(grpc.__version__, google.protobuf.__version__)
"""


def requirements() -> dict[str, tuple[str, str]]:
    """Name to (floor, ceiling) as clients/python declares them."""
    declared = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: dict[str, tuple[str, str]] = {}
    for requirement in map(Requirement, declared):
        if requirement.marker is None or requirement.marker.evaluate():
            bounds = {bound.operator: bound.version for bound in requirement.specifier}
            found[requirement.name] = bounds[">="], bounds["<"]
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_stubs_import_and_work(tmp_path: Path, end: str) -> None:
    """They import without a warning, and a message survives the round trip."""
    wanted = [
        f"{name}=={floor}" if end == "oldest" else f"{name}<{ceiling}"
        for name, (floor, ceiling) in requirements().items()
    ]
    python = tmp_path / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--prefer-binary", *wanted, str(CLIENT)]
    subprocess.run(install, check=True, timeout=200)
    quiet = ["-W", "error", "-W", "ignore:Type google._upb:DeprecationWarning"]  # protobuf 5 about itself
    ran = subprocess.run([python, *quiet, "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert len(wanted) == 2
    assert ran.returncode == 0, ran.stderr
    if end == "oldest":
        floors = requirements()
        assert ran.stdout.split() == [floors["grpcio"][0], floors["protobuf"][0]]


def test_the_contract_imports_only_well_known_types() -> None:
    """Any toolchain compiles the .proto files alone."""
    for proto in (ROOT / "proto").rglob("*.proto"):
        imports = re.findall(r'^import "(.+)";', proto.read_text(), re.MULTILINE)
        assert all(name.startswith(("google/protobuf/", "embedwire/v1/")) for name in imports)
