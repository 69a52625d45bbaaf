"""The command line of the server with another composition root, for measurements inside the process."""

import argparse
import sys

from embedwire_server import cli as command
from embedwire_server.app import App
from embedwire_server.observability import logs


def serve(app: type[App]) -> None:
    """Run `embedwire-server serve` with a subclass of `App`."""
    settings = command._loaded(command._parser().parse_args(namespace=argparse.Namespace(unknown=[]))).settings
    logs.configure(settings.log.level, settings.log.format)
    sys.exit(command._run(app(settings)))
