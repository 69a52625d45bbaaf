"""The server with a diagnostic: SIGUSR1 makes it write its number of tasks. It ends with its parent.

    python -m tests.system.watched serve --upstream URL ...

A text that contains `EXPLOSIVE` makes it raise an unexpected exception with that text.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Any

from embedwire_server import cli as command
from embedwire_server.upstreams.twelvelabs import v1_form

EXPLOSIVE = "explosive"


def watch_parent() -> None:
    """End this process when its parent has ended in any way."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_tasks(*_: object) -> None:
    sys.stderr.write(f"watched: {len(asyncio.all_tasks())} tasks\n")
    sys.stderr.flush()


def _plant_explosion() -> None:
    parts = v1_form.parts

    def exploding(item: Any, *more: Any) -> Any:
        if EXPLOSIVE in getattr(item, "value", ""):
            raise RuntimeError(item.value)
        return parts(item, *more)

    v1_form.parts = exploding  # type: ignore[assignment] # what it is given, it passes on


if __name__ == "__main__":
    watch_parent()
    signal.signal(signal.SIGUSR1, _write_tasks)
    _plant_explosion()
    sys.exit(command.main(sys.argv[1:]))
