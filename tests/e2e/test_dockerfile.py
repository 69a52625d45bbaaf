"""The Dockerfile says what the rest of the repository says; `make image-test` builds and runs it."""

import re
from pathlib import Path

from embedwire_server import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_its_version_is_that_of_the_server() -> None:
    """The label of an image names the version that is in it."""
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]


def test_its_pip_is_that_of_make() -> None:
    """An image is installed by the same pip as everything else here."""
    pinned = re.findall(r"^PIP_VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert re.findall(r"\bpip==[\d.]+", DOCKERFILE) == pinned
