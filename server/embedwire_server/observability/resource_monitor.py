"""Resource monitor: file descriptors and the spool directory, which the server needs to be ready.

They are checked at the start and then at an interval. While one is lacking, the server is not ready, so that load
balancers send calls elsewhere. It is ready again once several checks in a row have found enough of all: hysteresis
against a shortage that comes and goes.
"""

import asyncio
import contextlib
import os
import resource
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import structlog

from embedwire_server.core import failure_causes
from embedwire_server.core.failure_causes import WORDS, Cause
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics

CHECK_SECONDS = 1.0
GOOD_CHECKS = 3
# Descriptors that must be free before a shortage counts as over.
_SPARE_FILES = 16
_SPOOL_BYTES = 4096
_OWN_FILES = 64  # listeners, epoll, pipes, modules, spare
CHECKED = (Cause.FILE_DESCRIPTORS, Cause.DISK_FULL, Cause.SPOOL_UNAVAILABLE, Cause.MEMORY)

log = structlog.get_logger(__name__)


Changed = Callable[[frozenset[Cause]], Awaitable[None]]


class ResourceMonitor:
    """Checks resources, and reports which are lacking.

    Args:
        spool: the directory in which uploads are spooled; None is the system's temporary directory.
        metrics: show which resources are lacking.
        changed: called with the lacking resources, whenever they change.
    """

    def __init__(self, spool: Path | None, metrics: Metrics, changed: Changed) -> None:
        self._spool = spool
        self._spool_words = ""  # the text of the latest error
        self._changed = changed
        self._gauge = metrics.not_ready
        self._good: dict[Cause, int] = {}  # lacking resources, each with its good checks since
        for cause in CHECKED:
            self._gauge.labels(cause).set(0)

    @property
    def is_ready(self) -> bool:
        """Whether no resource is lacking."""
        return not self._good

    @property
    def lacking(self) -> frozenset[Cause]:
        """The lacking resources."""
        return frozenset(self._good)

    async def start(self) -> None:
        """Make the first check.

        Raises:
            OSError: the spool directory cannot be used; a full disk only makes the server unready.
        """
        self._update(await asyncio.to_thread(self._missing))
        if Cause.SPOOL_UNAVAILABLE in self._good:
            where = self._spool or "the directory for temporary files (TMPDIR)"
            raise OSError(f"--uploads-spool-dir: {where} cannot be written: {self._spool_words}")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Check at an interval while the block lasts."""
        checking = asyncio.create_task(self._keep_checking())
        try:
            yield
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)

    async def check(self) -> None:
        """Check once, and call `changed` if the lacking resources have changed."""
        before = self.lacking
        self._update(await asyncio.to_thread(self._missing))
        if self.lacking != before:
            await self._changed(self.lacking)

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            with contextlib.suppress(RuntimeError):  # no thread can be started now; the next check may have one
                await self.check()

    def _update(self, lacking: set[Cause]) -> None:
        """Record the outcome of one check."""
        for cause in lacking:
            if cause not in self._good:
                self._gauge.labels(cause).set(1)
                log.error("not ready", cause=cause, message=WORDS[cause])
            self._good[cause] = 0
        for cause in self._good.keys() - lacking:
            self._good[cause] += 1
            if self._good[cause] >= GOOD_CHECKS:
                del self._good[cause]
                self._gauge.labels(cause).set(0)
                log.info("the resource is available again", cause=cause)

    def _missing(self) -> set[Cause]:
        """Return the resources that are lacking now; may block on a disk."""
        spare = _SPARE_FILES if Cause.FILE_DESCRIPTORS in self._good else 1
        found = {_files_fault(spare), self._spool_fault()}
        return {cause for cause in found if cause is not None}

    def _spool_fault(self) -> Cause | None:
        """Write an unnamed file to the spool directory; return the cause if that fails."""
        try:
            with tempfile.TemporaryFile(dir=self._spool, prefix="embedwire-") as file:
                file.write(bytes(_SPOOL_BYTES))
        except OSError as error:
            self._spool_words = error.strerror or ""
            return failure_causes.of_spool(error)
        return None


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; 0 if that cannot be read; on macOS, the peak."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:  # there may be no file descriptor left
        return 0


def require_files(inputs_in_flight: int) -> None:
    """Raise the soft limit of file descriptors to what the configuration needs, and warn if that is not possible.

    It is not raised further: half of the limit is for the connections of callers (`rpc.server_options`).
    """
    needed = 2 * (2 * len(Modality) * inputs_in_flight + _OWN_FILES)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if (limit := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < needed:
        advice = f"set ulimit -n (LimitNOFILE) to {needed} or more, or lower --concurrency-inputs-per-modality"
        log.warning("too few file descriptors for this configuration", limit=limit, needed=needed, advice=advice)


def _files_fault(spare: int) -> Cause | None:
    """Open `spare` descriptors; return the cause if that fails."""
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(spare))
    except OSError as error:
        return failure_causes.lacking(error)
    finally:
        for file in opened:
            os.close(file)
    return None
