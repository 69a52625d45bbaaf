"""Generated parts of pages are complete, and outdated ones are found."""

import re
from pathlib import Path

import pytest

import embedwire
from docs.reference import pages
from embedwire import twelvelabs
from embedwire.v1 import embedding_pb2, error_reason_pb2

DOCS = Path(__file__).parents[3] / "docs"
CONTRACT = (DOCS / "contract.md").read_text()


def test_the_contract_page_has_every_element() -> None:
    """Each method, message, field and value of the contract is on the page."""
    elements = embedding_pb2.DESCRIPTOR
    headings = set(re.findall(r"^### (\w+)$", CONTRACT, re.MULTILINE))
    rows = {
        message.name: {f"`{field.name}` = {field.number}" for field in message.fields}
        for message in elements.message_types_by_name.values()
    }
    methods = {method.name for service in elements.services_by_name.values() for method in service.methods}
    values = {value.name for enum in elements.enum_types_by_name.values() for value in enum.values}

    assert methods | set(rows) | set(elements.enum_types_by_name) <= headings
    for name, fields in rows.items():
        section = CONTRACT.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert set(re.findall(r"^\| (`\w+` = \d+)<br>", section, re.MULTILINE)) == fields
    assert values <= set(re.findall(r"^\| `(\w+)` = \d+ \|", CONTRACT, re.MULTILINE))


def test_the_contract_page_has_every_error_reason() -> None:
    """Each reason that a server sends is in a table, with its number."""
    reasons = {
        name.removeprefix("ERROR_REASON_"): number for name, number in error_reason_pb2.ErrorReason.items() if number
    }
    table = CONTRACT.partition("## Error reasons")[2]
    assert {
        name: int(number) for name, number in re.findall(r"^\| `(\w+)` = (\d+)<br>", table, re.MULTILINE)
    } == reasons


@pytest.mark.parametrize("package", [embedwire, twelvelabs], ids=lambda package: package.__name__)
def test_the_page_of_the_python_api_has_every_name(package: object) -> None:
    """The page lists each public name of the package. TLS is listed once, and versions are not."""
    name = package.__name__  # type: ignore[attr-defined]
    page = (DOCS / "clients/python-api.md").read_text()
    listed = set(re.findall(rf"^::: {re.escape(name)}\.(\w+)$", page, re.MULTILINE))
    public = set(package.__all__) - {"__version__"}  # type: ignore[attr-defined]
    assert listed == public - ({"TLS"} if package is twelvelabs else set())


def page(folder: Path, text: str) -> Path:
    file = folder / "page.md"
    file.write_text(text)
    return file


def test_an_outdated_page_is_found(tmp_path: Path) -> None:
    """A generated part that differs is written again; the text around it stays."""
    file = page(tmp_path, "before\n<!-- generated: letters -->\nold\n<!-- end -->\nafter\n")
    expected = "before\n<!-- generated: letters -->\n\na\nb\n\n<!-- end -->\nafter\n"

    assert pages.outdated(tmp_path, {"letters": lambda: "ab"}) == {file: expected}
    file.write_text(expected)
    assert pages.outdated(tmp_path, {"letters": lambda: "ab"}) == {}


@pytest.mark.parametrize(
    "text", ["", "<!-- generated: other -->\n<!-- end -->\n", 2 * "<!-- generated: letters -->\n<!-- end -->\n"]
)
def test_each_part_is_on_one_page(tmp_path: Path, text: str) -> None:
    """A part that is missing, unknown or repeated is an error."""
    page(tmp_path, text)
    with pytest.raises(ValueError, match="expected each of"):
        pages.outdated(tmp_path, {"letters": lambda: "ab"})


def test_a_cell_is_one_line() -> None:
    """Line breaks, bars and angle brackets of a text do not end its cell."""
    assert pages.cell("a | b\nc <d>\n\ne\n") == r"a \| b c &lt;d> <br> e"
