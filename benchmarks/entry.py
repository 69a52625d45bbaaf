"""The command line of the server with another composition root, for what can only be seen from inside."""

import argparse
import sys

from embedwire_server import cli as command
from embedwire_server.app import App
from embedwire_server.observability import logs


def serve(app: type[App]) -> None:
    """Do what `embedwire-server serve` does, with a kind of `App`."""
    settings = command._loaded(command._parser().parse_args(namespace=argparse.Namespace(unknown=[]))).settings
    logs.configure(settings.log_level, settings.log_format)
    sys.exit(command._run(app(settings)))
