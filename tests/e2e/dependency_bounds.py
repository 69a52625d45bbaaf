"""The client works with the oldest and the newest dependencies that its package supports.

Not among the tests of `make test`, since it installs packages; `make test-clients` runs it.
"""

import asyncio
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.support.serving import Served

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/python"
PROGRAM = """
import asyncio, sys
import grpc, google.protobuf
from embedwire import AsyncClient, Audio, Client, EmbedwireError, Image, Text
from embedwire.twelvelabs import BadRequestError, TwelveLabs

target = sys.argv[1]
noise = bytes(2 << 20)

with Client(target) as client:
    alone, (first, _) = client.embed("marengo3.0", Text("a")), client.embed("marengo3.0", [Text("a"), Text("b")])
    assert alone.vector.tolist() == first.vector.tolist() and len(alone.vector) == 512
    text, audio = client.embed("marengo3.0", [Text("a"), Audio(data=noise)])
    assert text.failure is None and audio.failure.reason == "INPUT_REJECTED", audio

async def main():
    async with AsyncClient(target) as client:
        text, image = await client.embed("marengo3.0", [Text("a"), Image(data=noise)])
        assert text.failure is None and image.failure.reason == "INPUT_REJECTED", image
        try:
            await client.embed("unknown", Audio(data=noise * 8))
        except EmbedwireError as error:
            assert error.reason == "INVALID_REQUEST", error
        else:
            raise AssertionError

asyncio.run(main())
with TwelveLabs(target=target) as client:
    try:
        client.embed.create("marengo3.0", image_file=b"none")
    except BadRequestError as error:
        assert error.body["code"] == "parameter_invalid"
print(grpc.__version__, google.protobuf.__version__)
"""


def requirements() -> dict[str, tuple[str, str]]:
    """The (floor, ceiling) of each dependency that clients/python declares."""
    declared = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: dict[str, tuple[str, str]] = {}
    for requirement in map(Requirement, declared):
        if requirement.marker is None or requirement.marker.evaluate():
            bounds = {bound.operator: bound.version for bound in requirement.specifier}
            found[requirement.name] = bounds[">="], bounds["<"]
    return found


async def run(command: list[Any]) -> subprocess.CompletedProcess[str]:
    """Run a command in a thread, because the server runs on this loop."""

    def wait() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)

    return await asyncio.to_thread(wait)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("end", ["oldest", "newest"])
async def test_the_client_works(served: Served, tmp_path: Path, end: str) -> None:
    """Calls, uploads, failures and the drop-in work without a warning, and without any other package."""
    wanted = [
        f"{name}=={floor}" if end == "oldest" else f"{name}<{ceiling}"
        for name, (floor, ceiling) in requirements().items()
    ]
    python = tmp_path / "bin/python"
    await run([sys.executable, "-m", "venv", tmp_path])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--prefer-binary", *wanted, str(CLIENT)]
    await run(install)
    quiet = ["-W", "error", "-W", "ignore:Type google._upb:DeprecationWarning"]  # protobuf 5 warns about itself
    command = [python, *quiet, "-c", PROGRAM, served.app.target]
    ran = await run(command)

    assert len(wanted) == 3
    assert ran.returncode == 0, ran.stderr
    if end == "oldest":
        floors = requirements()
        assert ran.stdout.split() == [floors["grpcio"][0], floors["protobuf"][0]]
