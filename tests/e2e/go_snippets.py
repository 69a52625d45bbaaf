"""The README of the Go client works in an empty project outside the repository, and prints the output that it shows.

Not among the tests of `make test`, since it needs Go; `make test-clients` runs it.
"""

import asyncio
import re
from pathlib import Path

from tests.support.serving import Served

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/go"
README = (CLIENT / "README.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
PROGRAMS = re.findall(r"```go\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)


async def test_readme(served: Served, tmp_path: Path) -> None:
    """The commands install the client from the checkout; each program prints what the page shows."""
    install, run = (commands.replace("/path/to/embedwire", str(ROOT)) for commands in COMMANDS)
    await _output(tmp_path, install)

    for program, output in PROGRAMS:
        (tmp_path / "main.go").write_text(program.replace("127.0.0.1:50051", served.app.target))
        assert await _output(tmp_path, run) == output


def test_examples() -> None:
    """Each program is also an example of the package's documentation, word for word."""
    examples = (CLIENT / "example_test.go").read_text()

    assert len(PROGRAMS) == README.count("```go") == 7
    for program, _ in PROGRAMS:
        assert program.partition("func main() {\n")[2] in examples


def test_go_version() -> None:
    """The README, the Makefile and go.mod require the same version of Go."""
    required = re.findall(r"^go (\d+\.\d+)", (CLIENT / "go.mod").read_text(), re.MULTILINE)

    assert re.findall(r"Go (\d+\.\d+) or later", README) == required
    assert re.findall(r"the Go client needs Go (\d+\.\d+) or later", (ROOT / "Makefile").read_text()) == required


async def _output(folder: Path, commands: str) -> str:
    """Run commands of a shell; return what the last program prints."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-ec", commands), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()
