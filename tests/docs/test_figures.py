"""Figures of the pages are those of the code."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.docs.blocks import ROOT, parse
from tests.e2e.dropin.cases import AGREE

PYTHON = (ROOT / "clients/python/README.md").read_text()
DROP_IN = (ROOT / "docs/drop-in.md").read_text()


def test_versions_of_the_python_client() -> None:
    """The page of the Python client states the oldest versions that the package declares."""
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        (floor,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        assert requirement.name in PYTHON
        assert floor in PYTHON.partition("```")[0]
    assert f"Python {project['requires-python'].removeprefix('>=')} and later" in PYTHON


def test_number_of_compared_calls() -> None:
    """The number of calls that agree with the SDK, in docs/drop-in.md, is that of the table of cases."""
    own = sum(case.own_words for case in AGREE.values())

    assert f"\n{len(AGREE) - own} calls" in DROP_IN
    assert f"\n{own} more" in DROP_IN


def test_length_of_the_drop_in() -> None:
    """README shows the drop-in in six lines of Python."""
    found = parse("README.md", (ROOT / "README.md").read_text())
    programs = [block.text for block in found if "embedwire.twelvelabs" in block.text]
    assert [len(program.strip().splitlines()) for program in programs] == [6]


def test_calls_of_one_core() -> None:
    """The page of the chart states the calls per second of docs/operations.md."""
    chart, operations = ((ROOT / f"docs/{page}.md").read_text() for page in ("kubernetes", "operations"))
    (streamed, unary) = re.findall(r"1,024 floats \| ([\d,]+) streamed; ([\d,]+) unary", operations)[0]

    assert f"| short text, unary, 64 in flight | {unary} |" in chart
    assert f"| short text, streamed, 64 in flight | {streamed} |" in chart


def measured(row: str) -> str:
    """The figure of a row of docs/benchmarks.md."""
    table = (ROOT / "docs/benchmarks.md").read_text()
    found: str = re.findall(rf"^\| {re.escape(row)} \| ([\d.]+) \|", table, re.MULTILINE)[0]
    return found


def test_speed_in_the_readme() -> None:
    """README states the ratios of docs/benchmarks.md in two digits."""
    rows = "text ÷ on httpx with files=", "text ÷ TwelveLabs SDK", "text ÷ litellm proxy"
    stated = re.findall(r"([\d.]+) times as many", (ROOT / "README.md").read_text())

    assert stated == [f"{float(measured(row)):.2g}" for row in rows]


def test_memory_at_rest() -> None:
    """The pages for operators state the memory at rest of docs/benchmarks.md."""
    chart, operations = ((ROOT / f"docs/{page}.md").read_text() for page in ("kubernetes", "operations"))
    memory = measured("memory at rest, MiB")

    assert f"| all | at rest | {memory} |" in chart
    assert f"| memory at rest | {memory} MiB;" in operations
