"""The Python snippets of both READMEs run unchanged, and print the output shown below them."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.dropin.cases import AGREE
from tests.support.serving import Served

ROOT = Path(__file__).parents[2]
README = (ROOT / "clients/python/README.md").read_text()
ROOT_README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", README + ROOT_README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
async def test_snippet(served: Served, number: int) -> None:
    """A snippet runs without a warning, beside the samples, and prints the output shown."""
    code, output = SNIPPETS[number]
    code = code.replace("127.0.0.1:50051", served.app.target)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code),
        cwd=ROOT / "clients/python/examples/samples",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()

    assert not errors.decode()
    assert out.decode() == output or not output
    assert out


def test_the_number_of_cases() -> None:
    """The README's number of calls that agree with the SDK is that of the table of cases."""
    own = sum(case.own_words for case in AGREE.values())

    assert f"\n{len(AGREE) - own} calls" in README
    assert f"\n{own} more" in README


def test_the_drop_in_in_the_root_readme() -> None:
    """The root README shows the drop-in in six lines of Python."""
    snippets = re.findall(r"```python\n(.*?)```", ROOT_README, re.DOTALL)

    assert [len(snippet.strip().splitlines()) for snippet in snippets if "embedwire.twelvelabs" in snippet] == [6]
