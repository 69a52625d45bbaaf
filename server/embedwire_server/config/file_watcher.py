"""Watches the configuration file for changes, by polling.

A file mounted by Kubernetes changes by the swap of a symbolic link above it, a single file mounted into a container
changes in place, and network file systems send no notifications. `stat` detects all three.
"""

import contextlib
import threading
from collections.abc import Callable, Generator
from pathlib import Path

POLL_INTERVAL = 1.0  # seconds


class FileWatcher:
    """Polls a file for changes since this object was created.

    A change is reported once the file is the same in two consecutive polls, so that a file that is being written is not
    read halfway. A missing file counts as changed.

    Args:
        path: the file; symbolic links are followed.
        interval: seconds between polls.
    """

    def __init__(self, path: Path, interval: float = POLL_INTERVAL) -> None:
        self._path = path
        self._interval = interval
        self._reported = self._seen = self._state()

    @contextlib.contextmanager
    def watching(self, on_change: Callable[[], object]) -> Generator[None]:
        """Call `on_change` after each change, in a thread of its own, since `stat` can block on a network file system.

        A `stat` that blocks does not delay the end of the context.
        """
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(self._interval):
                if self.poll() and not stopped.is_set():
                    on_change()

        threading.Thread(target=watch, name="config-watcher", daemon=True).start()
        try:
            yield
        finally:
            stopped.set()

    def poll(self) -> bool:
        """Check the file; return whether it has changed, and is the same as in the last poll."""
        seen, self._seen = self._seen, self._state()
        if self._seen != seen or self._seen == self._reported:
            return False
        self._reported = self._seen
        return True

    def _state(self) -> tuple[int, ...] | None:
        """Return values that differ between two versions of the file; None if it is missing."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        # The time of the inode's last change differs also after chmod, and after a copy that keeps the other time.
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
