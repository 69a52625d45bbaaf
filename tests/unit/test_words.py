"""The word list of tests/words.toml, for documentation, comments, docstrings and messages of all languages."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.prose import prose

ROOT = Path(__file__).parents[2]
GENERATED = re.compile(r"/generated/|/embedwirepb/|^clients/python/src/embedwire/v1/")
LISTS = tomllib.loads((ROOT / "tests/words.toml").read_text())
WORDS, EXCEPTIONS = LISTS["word"], LISTS["exception"]


@cache
def pattern(forms: tuple[str, ...], unless: str) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(form).replace("\\ ", r"\s+") for form in forms)
    return re.compile(rf"\b(?:{alternatives})\b" + (rf"(?!\s+(?:{unless}))" if unless else ""), re.IGNORECASE)


def found(path: str, source: str, words: list[dict[str, Any]] = WORDS) -> list[str]:
    """Return a line for each forbidden word in a file: where it is, and what to write instead."""
    text, lines = prose(path, source), []
    for exception in EXCEPTIONS:
        if exception["path"] == path:
            text = text.replace(exception["text"], "\0")
    for word in words:
        if word.get("code_only") and path.endswith(".md"):
            continue
        for match in pattern(tuple(word["forms"]), word.get("unless", "")).finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            lines.append(f"{path}:{line}: {' '.join(match[0].split())!r}: write {word['write']}")
    return lines


def files() -> Iterator[tuple[str, str]]:
    """Yield path and text of each file of the repository, without generated code and binary files."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for path in sorted(subprocess.check_output(command, text=True).split("\0")):
        if path and (ROOT / path).is_file() and not GENERATED.search(path):
            try:
                yield path, (ROOT / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:  # an image, a sound or descriptors
                continue


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("server/a.py", '"""Who calls."""\nx = 1  # nobody\nprint("everybody", f"a\\ntold {who}")\n', 4),
        ("server/a.py", 'print("runs at "\n      "once")\n# runs at\n# once\n', 2),
        ("server/a.py", '"""Calls `who` and ``who``."""\nat = once\n', 0),
        ("tests/a.py", '"""Who calls."""\nx = 1  # nobody\nprint("everybody")\n', 2),
        ("tests/a.py", 'def test_who_calls():\n    """Whoever calls."""\nclass ToldTasks: ...\n', 3),
        ("clients/go/a.go", 'x := "// who" // nobody\n/*\n * Whoever calls.\n */\n', 3),
        ("clients/go/a_test.go", 'x := "// who" // nobody\n/*\n * Whoever calls.\n */\n', 2),
        ("clients/typescript/src/a.ts", "const x = `who\n// who`; // told at\n// once\n", 4),
        (
            "clients/java/src/main/A.java",
            'char c = \'"\'; // {@code who}\nS s = """\n  who\n"""; /** told */\n',
            2,
        ),
        ("proto/a.proto", "// Told at\n// once.\nstring who = 1;\n", 2),
        ("Makefile", "who: ## Who calls\n\techo who # at once\n", 2),
        ("Dockerfile", "# Told.\nRUN who\n", 1),
        ("a.yaml", "who: x # somebody\n", 1),
        ("pom.xml", "<who><!-- nobody --></who>\n", 1),
        (
            "README.md",
            "Users who call\n`at once` [at\nonce](once).\n\n```sh\ntold\n\ntold\n```\nhttps://a.b/told told\n",
            2,
        ),
        ("a.json", '{"what": "Nobody calls.", "who": "told"}', 1),
        ("a.txt", "told", 0),
    ],
)
def test_the_search_finds_prose_only(path: str, source: str, count: int) -> None:
    """Words are found in the prose of each language, across line breaks, and not in code."""
    assert len(found(path, source)) == count


def test_a_finding_names_the_place_and_the_replacement() -> None:
    """A finding has the file, the line, the word and what to write instead."""
    words = [{"forms": ["at once"], "write": "immediately"}]
    assert found("docs/a.md", "# A\n\nRuns at\nonce.\n", words) == ["docs/a.md:3: 'at once': write immediately"]


def test_words() -> None:
    """No file uses a forbidden word."""
    lines = [line for path, source in files() for line in found(path, source)]
    assert not lines, "\n".join(lines)


def test_each_exception_is_used() -> None:
    """Each exception names a passage that exists and has a reason."""
    for exception in EXCEPTIONS:
        assert exception["reason"]
        assert exception["text"] in prose(exception["path"], (ROOT / exception["path"]).read_text())


def test_the_contributor_guide_has_the_same_list() -> None:
    """CONTRIBUTING.md has a row for each word of tests/words.toml: its forms, and what to write instead."""
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    missing = [
        row for word in WORDS if (row := (", ".join(f"`{form}`" for form in word["forms"]), word["write"])) not in rows
    ]
    assert missing == []
