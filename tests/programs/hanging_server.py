"""The server, with signals that make one of its processes hang.

SIGUSR1 blocks it in a system call, SIGUSR2 in C code that never releases the GIL. This is a script and no module,
because multiprocessing runs the script of the supervisor in every worker as well.
"""

import itertools
import signal
import sys
import time

from embedwire_server import cli as command

signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))
signal.signal(signal.SIGUSR2, lambda *_: all(itertools.repeat(1)))

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
