"""The server, one process of which takes 200 MiB more memory when it gets SIGUSR1.

This is a script and no module, because multiprocessing runs the script of the supervisor in every worker as well.
"""

import signal
import sys

from embedwire_server import __main__ as command

MIB = 1 << 20

memory: list[bytearray] = []
signal.signal(signal.SIGUSR1, lambda *_: memory.append(bytearray(b"x") * (200 * MIB)))

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
