"""The runners by language. A new client needs one entry here."""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """How the runner of a language is built and started.

    Attributes:
        folder: the client's folder, in which both commands run.
        command: starts the runner.
        build: makes what the command needs; () if that is nothing.
    """

    folder: Path
    command: tuple[str, ...]
    build: tuple[str, ...] = ()


_JAVA_CLASSES = "target/classes:target/test-classes:target/lib/*"

LANGUAGES = {
    "python": Language(ROOT / "clients/python", (sys.executable, "conformance/runner.py")),
    "python-asyncio": Language(ROOT / "clients/python", (sys.executable, "conformance/runner.py", "--asyncio")),
    "go": Language(
        ROOT / "clients/go",
        ("./build/conformance",),
        build=("go", "build", "-o", "build/conformance", "./conformance"),
    ),
    "typescript": Language(
        ROOT / "clients/typescript",
        ("node", "build/conformance/runner.js"),
        build=("npm", "run", "--silent", "build:dev"),
    ),
    "java": Language(
        ROOT / "clients/java",
        # Java decodes file names by the locale; without one it loses characters that are not ASCII.
        (*("env", "LC_ALL=C.UTF-8", "java"), *("-cp", _JAVA_CLASSES), "dev.embedwire.conformance.Runner"),
        build=("mvn", "--quiet", "process-test-classes"),
    ),
}
