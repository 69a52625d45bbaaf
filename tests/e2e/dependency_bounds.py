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
SAMPLES = CLIENT / "examples/samples"
NO_PLOT = "error: the command needs more packages: pip install 'embedwire[plot]'\n"
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
    assert all(found.failure is None for found in client.map("marengo3.0", [Text("a")] * 20, inputs_per_call=3))
    text, audio = client.embed("marengo3.0", [Text("a"), Audio(data=noise)])
    assert text.failure is None and audio.failure.reason == "INPUT_REJECTED", audio

async def main():
    async with AsyncClient(target) as client:
        text, image = await client.embed("marengo3.0", [Text("a"), Image(data=noise)])
        assert text.failure is None and image.failure.reason == "INPUT_REJECTED", image
        found = [each async for each in client.map("marengo3.0", [Text("a"), Image(data=noise)])]
        assert sorted(each.failure is None for each in found) == [False, True], found
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


# Typer of 2024 does not bound click, whose newer versions its help does not work with.
BESIDE_OLDEST = ["click==8.1.7"]


def requirements(extra: str = "") -> dict[str, tuple[str, str]]:
    """The (floor, ceiling) of each dependency that clients/python declares, or of an extra and those that it names."""
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    found: dict[str, tuple[str, str]] = {}
    for requirement in map(Requirement, project["optional-dependencies"][extra] if extra else project["dependencies"]):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if requirement.name == project["name"]:
            for other in requirement.extras:
                found |= requirements(other)
        else:
            bounds = {bound.operator: bound.version for bound in requirement.specifier}
            found[requirement.name] = bounds[">="], bounds["<"]
    return found


def pins(wanted: dict[str, tuple[str, str]], end: str) -> list[str]:
    """What to install for the oldest or the newest versions of these packages."""
    if end == "newest":
        return [f"{name}<{ceiling}" for name, (_, ceiling) in wanted.items()]
    return [f"{name}=={floor}" for name, (floor, _) in wanted.items()]


async def run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a thread, because the server runs on this loop."""

    def wait() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, **options)

    return await asyncio.to_thread(wait)


@pytest.mark.timeout(360)
@pytest.mark.parametrize("end", ["oldest", "newest"])
async def test_the_package_works(served: Served, tmp_path: Path, end: str) -> None:
    """Calls, uploads, failures and the drop-in work without a warning and without an extra; the command with them."""
    python = tmp_path / "bin/python"
    await run([sys.executable, "-m", "venv", tmp_path])
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    wanted = requirements()
    installed = await run([*install, *pins(wanted, end), CLIENT])
    assert installed.returncode == 0, installed.stderr
    assert set(wanted) == {"grpcio", "protobuf", "googleapis-common-protos"}
    quiet = ["-W", "error", "-W", "ignore:Type google._upb:DeprecationWarning"]  # protobuf 5 warns about itself
    ran = await run([python, *quiet, "-c", PROGRAM, served.app.target])
    assert ran.returncode == 0, ran.stderr
    if end == "oldest":
        assert ran.stdout.split() == [wanted["grpcio"][0], wanted["protobuf"][0]]

    missing = await run([python, "-m", "embedwire", "models"])
    assert missing.stderr == "error: the command needs more packages: pip install 'embedwire[cli]'\n"
    beside = BESIDE_OLDEST if end == "oldest" else []
    for extra, command in (("cli", _use_command), ("plot", _draw)):
        installed = await run([*install, *pins(requirements(extra), end), *beside, f"{CLIENT}[{extra}]"])
        assert installed.returncode == 0, installed.stderr
        await command(tmp_path, served.app.target)


async def _use_command(folder: Path, target: str) -> None:
    """Everything but plots works with the extra `cli`; to plot needs another one, and says so before the call."""
    command = [folder / "bin/embedwire"]
    for words in (["--help"], ["embed", "--help"]):
        assert "Exit codes" in (await run([*command, *words])).stdout
    inputs: list[Any] = ["--text", "a red fox", "--image", SAMPLES / "picture.png", "--target", target]
    array = ["--format", "npy", "--output", folder / "vectors.npy"]
    calls = [["models", *inputs[-2:]], *(["embed", *inputs, *form] for form in ([], ["--format", "json"], array))]
    for words in calls:
        ran = await run([*command, *words])
        assert ran.returncode == 0, ran.stderr
        assert "rror" not in ran.stderr
    assert (folder / "vectors.npy").stat().st_size > 2 * 512 * 4
    ran = await run([*command, "plot", *inputs, "--output", folder / "a.png"])
    assert (ran.returncode, ran.stderr) == (2, NO_PLOT)


async def _draw(folder: Path, target: str) -> None:
    """With the extra `plot` the similarity of one audio file is drawn."""
    words = ["plot", "--audio", SAMPLES / "melody.flac", "--target", target, "--output", folder / "a.png"]
    ran = await run([folder / "bin/embedwire", *words])
    assert ran.returncode == 0, ran.stderr
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
