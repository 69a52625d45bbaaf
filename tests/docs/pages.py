"""The commands and Python programs of each page run in their order, and print the output that the page shows.

Not among the tests of `make test`, since they need grpcurl and install packages; `make test-docs` runs them.
"""

import shlex
import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.console import Command, commands, difference
from tests.docs.owners import RUNNER, owned
from tests.docs.shell import Shell
from tests.docs.stage import Stage, copy_checkout, staged

BLOCKS = owned(blocks(), RUNNER)
PAGES = sorted({block.page for block in BLOCKS})
CREATES_ENVIRONMENT = " -m venv "
# README's installation, for pages that install a package into an environment that exists.
INSTALLATION = next(block for block in BLOCKS if block.page == "README.md" and CREATES_ENVIRONMENT in block.text)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the files of the repository."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def environments() -> dict[str, Path]:
    """Return the virtual environments of this session, by the block that installs them."""
    return {}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES)
async def test_page(page: str, checkout: Path, environments: dict[str, Path], tmp_path: Path) -> None:
    """Each block of the page does what the page shows, in a shell that keeps its state from block to block."""
    found = [block for block in BLOCKS if block.page == page]
    text = "".join(block.text for block in found)
    if "pip install" in text and CREATES_ENVIRONMENT not in text:
        found.insert(0, INSTALLATION)
    faults: list[str] = []
    folder = shutil.copytree(checkout, tmp_path / "embedwire")
    async with (
        staged(page, text, folder) as stage,
        Shell.running(folder, tmp_path, stage.variables) as shell,
    ):
        for number, block in enumerate(found):
            if CREATES_ENVIRONMENT in block.text and await _reused(shell, block, environments, folder):
                continue
            run = _commands(block, stage, tmp_path / f"program-{number}.py")
            faults += [fault for command in run if (fault := await _fault(shell, stage, block, command))]
    assert not faults, "\n\n".join(faults)


def _commands(block: Block, stage: Stage, file: Path) -> list[Command]:
    """Return the commands of a block; a program is written to a file and run with warnings as errors."""
    if block.language == "console":
        return commands(block.text)
    if block.language == "sh":
        return [Command(block.text, "")]
    file.write_text(stage.real(block.text))
    return [Command(f"python -W error {shlex.quote(str(file))}", block.output or "")]


async def _fault(shell: Shell, stage: Stage, block: Block, command: Command) -> str:
    """Run a command; return how it differs from the page, or ""."""
    text = stage.real(command.text)
    if command.is_background:
        printed = stage.shown(await shell.start(text))
        missing = set(command.shown.splitlines()) - set(printed.splitlines())
        return f"{block.place}: {command.text}\nis not printed: {missing}\n{printed}" if missing else ""
    printed, code = await shell.run(text)
    program = block.text if block.language == "python" else command.text
    differs = difference(program, command.shown, stage.shown(printed))
    if code and not (command.shown and block.language == "console"):
        differs += f"\nexit code {code}"
    return f"{block.place}: {command.text}\n{differs}" if differs else ""


async def _reused(shell: Shell, block: Block, environments: dict[str, Path], folder: Path) -> bool:
    """Activate the environment that another page has installed with the same commands; False without one."""
    made = environments.setdefault(block.text, folder / ".venv")
    if made == folder / ".venv":
        return False
    (folder / ".venv").symlink_to(made)
    assert await shell.run(". .venv/bin/activate") == ("", 0)
    return True
