"""Words that docstrings, comments, help texts and log events must not use."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("server", "clients/python/src/embedwire", "clients/python/examples")  # strings are searched as well
INTERNAL = ("tests", "benchmarks", "clients/python")  # docstrings, comments and names only; strings may be test data
GENERATED = {"v1", "generated", "embedwirepb"}  # folders
# Use "that" for programs, and verbs of the field: send, report, return, count.
WORDS = re.compile(r"\b(whoever|nobody|everybody|somebody|told|who)\b", re.IGNORECASE)
ALLOWED = {  # exceptions: the text and the reason
    '"A small boat sails towards the evening sun while somebody on board plays a slow melody.\\n"': "sample content",
}
# Comments of Go, TypeScript and Java. Strings are matched first, as they may contain the start of a comment.
STRING_OR_COMMENT = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`(?:\\.|[^`\\])*`|(?P<comment>//[^\n]*|/\*.*?\*/)', re.DOTALL
)

Texts = Callable[[str], Iterator[str]]


def texts_of_python(source: str) -> Iterator[str]:
    """Yield all comments and strings, including docstrings."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.string


def documentation_of_python(source: str) -> Iterator[str]:
    """Yield all comments and docstrings, and the names of functions and classes split into words."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
            if not isinstance(node, ast.Module):
                yield re.sub("_|(?<=[a-z])(?=[A-Z])", " ", node.name)


def comments(source: str) -> Iterator[str]:
    """Yield all comments of a source in Go, TypeScript or Java."""
    for match in STRING_OR_COMMENT.finditer(source):
        if match["comment"]:
            yield match["comment"]


def files() -> Iterator[tuple[Path, Texts]]:
    """Yield the sources without generated code, each with the function that returns its texts."""
    globs: list[tuple[str, str, Texts]] = [
        *((folder, "*.py", texts_of_python) for folder in SHIPPED),
        *((folder, "*.py", documentation_of_python) for folder in INTERNAL),
        ("clients/go", "*.go", comments),
        ("clients/typescript/src", "*.ts", comments),
        ("clients/java/src", "*.java", comments),
    ]
    seen: set[Path] = set()
    for folder, pattern, texts in globs:
        for path in sorted((ROOT / folder).rglob(pattern)):
            is_searched = path in seen or GENERATED & set(path.relative_to(ROOT).parts)
            seen.add(path)
            if not is_searched:
                yield path, texts


def found(source: str, texts: Texts) -> list[str]:
    return [text for text in texts(source) if text not in ALLOWED and WORDS.search(text)]


@pytest.mark.parametrize(
    ("source", "texts", "count"),
    [
        ('"""Who calls."""\nx = 1  # nobody\nprint("everybody")\n', texts_of_python, 3),
        ('"""Who calls."""\nx = 1  # nobody\nprint("everybody")\n', documentation_of_python, 2),
        ('def test_who_calls():\n    """Whoever calls."""\nclass ToldTasks: ...\n', documentation_of_python, 3),
        ('x := "// who" // nobody\n/*\n * Whoever calls.\n */\n', comments, 2),
        ("const x = `who\n// who`; // told\n", comments, 1),
        ('char c = \'"\'; // who\nString s = """\n  who\n  """; /** somebody */\n', comments, 2),
    ],
)
def test_the_search_finds_each_kind(source: str, texts: Texts, count: int) -> None:
    """Docstrings, comments and names are found, and strings of the Python packages."""
    assert len(found(source, texts)) == count


def test_words() -> None:
    """No file uses any of these words."""
    assert {path: words for path, texts in files() if (words := found(path.read_text(), texts))} == {}
