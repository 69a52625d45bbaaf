"""The Go snippets of the Go client's README run unchanged, and print the output shown below them.

Not among the tests of `make test`, since it needs Go; `make test-clients` runs it.
"""

import asyncio
import re
import shutil
import textwrap
from pathlib import Path

from tests.support.serving import Served

CLIENT = Path(__file__).parents[2] / "clients/go"
SNIPPETS = re.findall(r"```go\n(.*?)```\n\n```\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
PROGRAM = """package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/embedwire/embedwire/clients/go"
)

func main() {
"""


async def test_snippets(served: Served, tmp_path: Path) -> None:
    """The snippets run beside the samples, and print the output shown."""
    program = tmp_path / "main.go"
    functions = "".join(f"func() {{\n{code}}}()\n" for code, _ in SNIPPETS)
    program.write_text(PROGRAM + functions.replace("127.0.0.1:50051", served.app.target) + "}\n")
    go = shutil.which("go")
    assert go, "the Go client needs Go 1.24 or later: https://go.dev/dl/"
    await _output(CLIENT, go, "build", "-o", str(tmp_path / "snippets"), str(program))

    out = await _output(CLIENT.parent / "python/examples/samples", str(tmp_path / "snippets"))

    assert out == "".join(output for _, output in SNIPPETS)


def test_examples() -> None:
    """Each snippet is also an example of the package's documentation, word for word."""
    examples = (CLIENT / "example_test.go").read_text()

    assert len(SNIPPETS) == 3
    for code, _ in SNIPPETS:
        assert textwrap.indent(code, "\t") in examples


async def _output(folder: Path, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()
