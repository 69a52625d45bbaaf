"""Extracts the prose of a source file: documentation, comments and messages, without code."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

PYTHON_PACKAGES = ("server/", "clients/python/src/", "clients/python/examples/")
TEST_FOLDERS = {"test", "tests", "scripts", "benchmarks"}  # their strings may be test data
HASH_COMMENT_NAMES = {"Makefile", "Dockerfile", "run", ".importlinter", ".gitignore", ".gitattributes", ".dockerignore"}

# A string is matched before a comment, because it can contain the start of a comment.
STRING = r'"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`(?:\\.|[^`\\])*`'
STRING_OR_COMMENT = re.compile(rf"(?P<string>{STRING})|(?P<comment>//[^\n]*|/\*.*?\*/)", re.DOTALL)
COMMENT_MARKS = re.compile(r"^[ \t]*(?://+!?|/\*+|\*(?!/))|\*+/|//+", re.MULTILINE)
QUOTES = re.compile(r"^[a-zA-Z]{0,2}(\"{3}|'{3}|[\"'`])|(\"{3}|'{3}|[\"'`])$|\\[nrt]")
HASH_COMMENT = re.compile(r"(?:^|(?<=\s))#[#!]*([^\n]*)", re.MULTILINE)
XML_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
JSON_TEXT = re.compile(r'"(?:what|description)": "((?:\\.|[^"\\])*)"')  # descriptions of conformance cases and packages
FENCED_BLOCK = re.compile(r"^[ ]*(`{3,}|~{3,}).*?^[ ]*\1[`~]*[ ]*$", re.MULTILINE | re.DOTALL)
# Inline code of Markdown, Javadoc and HTML, targets of links, and URLs.
CODE = re.compile(
    r"(`+)(?:(?!\n[ \t]*\n)[^`\0])+\1|\{@(?:code|link|linkplain|value)\s[^}\0]*\}|<code>[^\0]*?</code>"
    r"|\]\([^)\s]*\)|https?://[^\s)>\"']+"
)


def prose(path: str, source: str) -> str:
    """Return `source` with NUL characters in place of all that is not prose; line numbers are kept.

    Args:
        path: of the file, relative to the repository. It decides the language, and whether strings are messages.
        source: the text of the file.
    """
    text = _language(PurePosixPath(path))(source)
    return CODE.sub(lambda match: _hidden(match[0]), text)


def _language(path: PurePosixPath) -> Callable[[str], str]:
    if path.suffix == ".py":
        return _python_package if str(path).startswith(PYTHON_PACKAGES) else _python_tests
    if path.suffix in {".go", ".ts", ".mts", ".mjs", ".java"}:
        is_test = bool(TEST_FOLDERS & set(path.parts)) or path.stem.endswith("_test")
        return _comments if is_test else _comments_and_strings
    if path.name in HASH_COMMENT_NAMES:
        return _hash_comments
    return LANGUAGES.get(path.suffix, _hidden)


def _hidden(text: str) -> str:
    return re.sub(r"\S+", "\0", text)


def _only(source: str, parts: list[tuple[int, int, str]]) -> str:
    """Return the parts (start, end, text instead) of `source`, and NUL characters between them."""
    texts, position = [], 0
    for start, end, text in parts:
        texts += [_hidden(source[position:start]), text]
        position = end
    return "".join([*texts, _hidden(source[position:])])


def _markdown(source: str) -> str:
    return FENCED_BLOCK.sub(lambda match: _hidden(match[0]), source)


def _comments(source: str) -> str:
    matches = [match for match in STRING_OR_COMMENT.finditer(source) if match["comment"]]
    return _only(source, [(match.start(), match.end(), COMMENT_MARKS.sub(" ", match[0])) for match in matches])


def _comments_and_strings(source: str) -> str:
    matches = STRING_OR_COMMENT.finditer(source)
    marks = {True: COMMENT_MARKS, False: QUOTES}
    return _only(source, [(m.start(), m.end(), marks[bool(m["comment"])].sub(" ", m[0])) for m in matches])


def _xml_comments(source: str) -> str:
    return _only(source, [(match.start(1), match.end(1), match[1]) for match in XML_COMMENT.finditer(source)])


def _json_descriptions(source: str) -> str:
    return _only(source, [(match.start(1), match.end(1), match[1]) for match in JSON_TEXT.finditer(source)])


def _hash_comments(source: str) -> str:
    return _only(source, [(match.start(), match.end(), match[1]) for match in HASH_COMMENT.finditer(source)])


LANGUAGES = {
    ".md": _markdown,
    ".json": _json_descriptions,
    **dict.fromkeys((".proto", ".c"), _comments),
    **dict.fromkeys((".xml", ".html"), _xml_comments),
    **dict.fromkeys((".yaml", ".yml", ".toml", ".cfg", ".conf", ".sh"), _hash_comments),
}


def _python_package(source: str) -> str:
    return _only(source, list(_python_parts(source, documentation_only=False)))


def _python_tests(source: str) -> str:
    return _only(source, list(_python_parts(source, documentation_only=True)))


def _python_parts(source: str, *, documentation_only: bool) -> Iterator[tuple[int, int, str]]:
    """Yield comments and strings; or comments, docstrings, and the names of functions and classes, split into words."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    docstrings = _docstrings(source)
    strings = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start, end = (offsets[row - 1] + column for row, column in (token.start, token.end))
        text = source[start:end]
        if token.type == tokenize.COMMENT:
            yield start, end, text.lstrip("#!")
        elif token.type in strings and (token.start in docstrings or not documentation_only):
            yield start, end, _string(text)
        elif documentation_only and before in {"def", "class"}:
            yield start, end, re.sub("_|(?<=[a-z])(?=[A-Z])", "\0", text)
        before = token.string


def _string(literal: str) -> str:
    """Return the text of a string, without the expressions of an f-string."""
    is_f_string = "f" in re.match("[a-zA-Z]*", literal)[0].lower()  # type: ignore[index]
    text = QUOTES.sub(" ", literal)
    return re.sub(r"\{[^{}]*\}", lambda match: _hidden(match[0]), text) if is_f_string else text


def _docstrings(source: str) -> set[tuple[int, int]]:
    """Return the positions (row, column) of all docstrings."""
    positions = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                positions.add((first.value.lineno, first.value.col_offset))
    return positions
