"""Runs the command: `python -m embedwire_server`."""

import sys

from embedwire_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
