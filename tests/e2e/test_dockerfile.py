"""The Dockerfile agrees with the rest of the repository; `make image-test` builds and runs it."""

import re
from pathlib import Path

from embedwire_server import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_label_has_the_version_of_the_server() -> None:
    """The label of the image has the version of the server."""
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]
