"""The README of the TypeScript client: its installation and its examples.

Not among the tests of `make test`, since it needs Node.js and packages from a registry; `make test-clients` runs it.
"""

import asyncio
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.docs.owners import TYPESCRIPT, owned
from tests.docs.stage import copy_checkout
from tests.support.serving import Served

CLIENT = "clients/typescript"
ARCHIVES = "PATH/TO"  # what the page writes for the folder of the archive
COMMANDS = [line for block in owned(blocks(), TYPESCRIPT) if block.language == "sh" for line in block.text.splitlines()]


async def run(folder: Path, command: str) -> None:
    """Run a command of a shell, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", command), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}\n{output.decode()}"


@pytest.mark.timeout(300)
async def test_installation(tmp_path: Path) -> None:
    """The commands of the page build the package in a checkout, and install it in an empty project."""
    checkout, project = tmp_path / "embedwire", tmp_path / "project"
    copy_checkout(checkout)
    project.mkdir()
    for command in COMMANDS:
        folder = project if ARCHIVES in command else checkout
        await run(folder, command.replace(ARCHIVES, str(checkout / CLIENT)))

    assert (project / "node_modules/@embedwire/client/package.json").is_file()


@pytest.mark.timeout(600)
async def test_examples(served: Served) -> None:
    """Each example prints what the page shows, with all supported versions of Node.js and TypeScript."""
    await run(ROOT / CLIENT, f"npm run --silent test:package -- {served.app.target}")
