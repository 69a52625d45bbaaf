"""The Python snippets of both READMEs run unchanged, and print the output shown below them."""

import asyncio
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.e2e.dropin.cases import AGREE
from tests.support.serving import Served

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/python"
SAMPLES = CLIENT / "examples/samples"
README = (CLIENT / "README.md").read_text()
ROOT_README = (ROOT / "README.md").read_text()
DROP_IN = (ROOT / "docs/drop-in.md").read_text()


def snippets(page: str) -> list[tuple[str, str]]:
    """The Python code of a page, and the output that is shown below it."""
    return re.findall(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", page, re.DOTALL)


async def runs_as_shown(python: Path | str, folder: Path, snippet: tuple[str, str], target: str) -> None:
    """Run a snippet against the server of the test: there is no warning, and the output is as shown."""
    code, output = snippet
    process = await asyncio.create_subprocess_exec(
        *(python, "-W", "error", "-c", code.replace("127.0.0.1:50051", target)),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()

    assert not errors.decode()
    printed, shown = out.decode().splitlines(), output.splitlines()
    if "..." in shown:  # lines are left out; events of several inputs come in any order
        assert {*shown} - {"..."} <= {*printed}
    else:
        assert printed == shown or not shown
    assert printed


@pytest.mark.timeout(240)
async def test_the_snippets_in_an_empty_project(served: Served, tmp_path: Path) -> None:
    """The commands of the page install the package outside of the repository, where all of its snippets run."""
    commands = re.findall(r"```console\n(\$ python3 -m venv .*?)```", README, re.DOTALL)[0].replace("$ ", "")
    commands = commands.replace("python3", sys.executable, 1).replace("./clients/python", str(CLIENT))
    shell = await asyncio.create_subprocess_exec("sh", "-ec", commands, cwd=tmp_path)
    assert await shell.wait() == 0
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)

    for snippet in snippets(README):
        await runs_as_shown(tmp_path / ".venv/bin/python", tmp_path, snippet, served.app.target)
    assert len(snippets(README)) == 7


@pytest.mark.parametrize("number", range(len(snippets(ROOT_README))))
async def test_a_snippet_of_the_root_readme(served: Served, number: int) -> None:
    """A snippet of the root README runs in the checkout."""
    await runs_as_shown(sys.executable, ROOT, snippets(ROOT_README)[number], served.app.target)


def test_the_versions_are_those_of_the_package() -> None:
    """The page states the oldest versions that the package declares."""
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        (floor,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        assert requirement.name in README
        assert floor in README.partition("```")[0]
    assert f"Python {project['requires-python'].removeprefix('>=')} and later" in README


def test_the_number_of_cases() -> None:
    """The number of calls that agree with the SDK, in docs/drop-in.md, is that of the table of cases."""
    own = sum(case.own_words for case in AGREE.values())

    assert f"\n{len(AGREE) - own} calls" in DROP_IN
    assert f"\n{own} more" in DROP_IN


def test_the_drop_in_in_the_root_readme() -> None:
    """The root README shows the drop-in in six lines of Python."""
    shown = [code for code, _ in snippets(ROOT_README) if "embedwire.twelvelabs" in code]
    assert [len(code.strip().splitlines()) for code in shown] == [6]
