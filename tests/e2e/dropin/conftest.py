"""Fixtures of the drop-in's tests."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[3] / "clients/python/examples/samples"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def media_files() -> Iterator[str]:
    """A URL under which the samples are served, without a trailing slash."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=SAMPLES))
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
