"""The README of the Java client: its installation, and the project in which its examples run.

Not among the tests of `make test`, since it needs Maven; `make test-clients` runs it. ReadmeTest.java runs all examples
of the page, without a project.
"""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.console import difference
from tests.docs.owners import JAVA, JAVA_EXAMPLES, owned
from tests.docs.stage import SAMPLES, copy_checkout
from tests.support.serving import Served

REPOSITORY = Path.home() / ".m2/repository"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Maven ends its output with one


@pytest.mark.timeout(600)
async def test_readme(served: Served, tmp_path: Path) -> None:
    """The client is installed from a checkout; an example in the project of the page prints what the page shows."""
    checkout, project, repository = tmp_path / "embedwire", tmp_path / "project", tmp_path / "repository"
    copy_checkout(checkout)
    shutil.copytree(SAMPLES, project)
    # A copy, so that the test downloads little and installs nothing for other projects.
    if REPOSITORY.is_dir():
        shutil.copytree(REPOSITORY, repository)
    (build,) = [block.text for block in owned(blocks(), JAVA) if block.language == "xml"]
    (project / "pom.xml").write_text(build)
    install, start = [block.text for block in owned(blocks(), JAVA) if block.language == "sh"]
    await run(checkout, install, repository)

    (name,) = re.findall(r"mainClass=(\w+)", start)
    (example,) = [block for block in owned(blocks(), JAVA_EXAMPLES) if f"\nclass {name} " in block.text]
    source = project / f"src/main/java/{name}.java"
    source.parent.mkdir(parents=True)
    source.write_text(example.text.replace("127.0.0.1:50051", served.app.target))
    printed = await run(project, start, repository)
    assert example.output
    assert not difference(example.text, example.output, printed)


async def run(folder: Path, command: str, repository: Path) -> str:
    """Run a command of a shell, which must succeed; return its output. Maven uses this local repository."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", command),
        cwd=folder,
        env=os.environ | {"MAVEN_OPTS": f"-Dmaven.repo.local={repository}"},  # noqa: TID251 - Maven needs the others
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}\n{output.decode()}"
    return _COLOUR.sub("", output.decode())
