"""The server, one process of which allocates 200 MiB on SIGUSR1, or at the start if LARGE is set.

This is a script and no module, because multiprocessing runs the script of the supervisor in every worker as well.
"""

import os
import signal
import sys

from embedwire_server import cli as command

MIB = 1 << 20

memory: list[bytearray] = []


def grow(*_: object) -> None:
    memory.append(bytearray(b"x") * (200 * MIB))


if "LARGE" in os.environ:  # noqa: TID251 - the program's own
    grow()
signal.signal(signal.SIGUSR1, grow)

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
