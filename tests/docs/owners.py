"""The test that runs each block."""

import dataclasses
import fnmatch
from collections.abc import Sequence

from tests.docs.blocks import Block

RUNNER = "tests/docs/pages.py"
CONFIGURATION = "tests/docs/test_configuration.py"
CHART = "tests/chart/test_page.py"
QUERIES = "tests/docs/test_queries.py"
TYPESCRIPT = "tests/docs/typescript_readme.py"
JAVA = "tests/docs/java_readme.py"
ENGINE_EXAMPLES = "tests/engines/test_engines.py"
LARGE_COLLECTIONS = "tests/docs/test_large_collections.py"
JAVA_EXAMPLES = "clients/java/src/test/java/dev/embedwire/ReadmeTest.java"


@dataclasses.dataclass(frozen=True)
class Owner:
    """A test that runs the blocks of some languages.

    Attributes:
        pages: pattern of the pages.
        languages: languages of the blocks.
        test: path of the test.
    """

    pages: str
    languages: Sequence[str]
    test: str


@dataclasses.dataclass(frozen=True)
class Exempt:
    """A block that no test runs as it is printed.

    Attributes:
        page: path of the page.
        language: language of the block.
        begins: beginning of its text.
        reason: why it cannot be run.
        instead: the command or test that covers it.
    """

    page: str
    language: str
    begins: str
    reason: str
    instead: str


# The first row that matches is the owner.
OWNERS = (
    Owner("clients/go/README.md", ("go", "sh"), "tests/e2e/go_snippets.py"),
    Owner("clients/typescript/README.md", ("ts", "js", "sh"), TYPESCRIPT),
    Owner("clients/java/README.md", ("java",), JAVA_EXAMPLES),
    Owner("clients/java/README.md", ("sh", "xml"), JAVA),
    Owner("docs/proxies.md", ("nginx", "haproxy", "yaml"), "tests/proxies/test_tls_to_replicas.py"),
    Owner("docs/kubernetes.md", ("yaml",), CHART),
    Owner("docs/alerts.md", ("yaml",), "tests/prometheus/test_alerts.py"),
    Owner("docs/engines.md", ("console", "python"), ENGINE_EXAMPLES),
    Owner("docs/large-collections.md", ("console",), LARGE_COLLECTIONS),
    Owner("docs/batch.md", ("text",), "tests/docs/test_batch.py"),
    Owner("*", ("toml",), CONFIGURATION),
    Owner("*", ("promql",), QUERIES),
    Owner("*", ("console", "sh", "python"), RUNNER),
)

IMAGE = ("needs a container engine", "make image-test")
DIAGRAM = ("a diagram, drawn by the reader's browser", "make docs")
ENGINES = ("needs packages that only that target installs", "make test-engines")
EXEMPT = (
    Exempt("docs/sinks.md", "console", "$ pip install --quiet 'lancedb", *ENGINES),
    Exempt("docs/sinks.md", "console", "$ pip install --quiet 'qdrant-client", *ENGINES),
    Exempt("docs/deployment.md", "console", "$ docker build --tag embedwire .\n$ docker run", *IMAGE),
    Exempt("docs/deployment.md", "console", "$ docker build --tag embedwire .\n$ mkdir", *IMAGE),
    Exempt("docs/deployment.md", "console", "$ docker run --read-only", *IMAGE),
    Exempt(
        "docs/kubernetes.md",
        "console",
        "$ docker build",
        *("needs a registry and a cluster", "make test-chart"),
    ),
    Exempt("docs/kubernetes.md", "console", "$ kubectl --namespace vectors", "needs a cluster", "make test-chart"),
    Exempt(
        "docs/deployment.md",
        "python",
        "",
        "connects to the container of the page",
        "tests/e2e/client/test_connection.py",
    ),
    Exempt(
        "docs/proxies.md",
        "console",
        "$ curl https://embedwire.example.com",
        *("a host name of production", "tests/proxies/test_json.py"),
    ),
    Exempt("README.md", "mermaid", "flowchart", *DIAGRAM),
    Exempt("docs/concepts.md", "mermaid", "flowchart", *DIAGRAM),
)


def exemptions(block: Block) -> list[Exempt]:
    """Return the rows of EXEMPT that match a block."""
    return [
        row
        for row in EXEMPT
        if (row.page, row.language) == (block.page, block.language) and block.text.startswith(row.begins)
    ]


def owner(block: Block) -> Owner | None:
    """Return the row of OWNERS for a block; None for a block that is exempt or that nothing runs."""
    if exemptions(block):
        return None
    return next(
        (row for row in OWNERS if fnmatch.fnmatch(block.page, row.pages) and block.language in row.languages), None
    )


def owned(found: Sequence[Block], test: str) -> list[Block]:
    """Return the blocks that a test has to run."""
    return [block for block in found if (row := owner(block)) and row.test == test]
