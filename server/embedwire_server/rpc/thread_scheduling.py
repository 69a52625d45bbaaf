"""Scheduling policy of gRPC's threads: SCHED_BATCH."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def batch_threads() -> Iterator[None]:
    """Start threads within the block, of any library, with the policy SCHED_BATCH, which they inherit.

    Such a thread gets its share of the CPU, but it does not preempt a running thread when it wakes up. gRPC has threads
    that only pass events to the thread of the event loop, some eight for a call. On the same core, each event would
    interrupt the event loop, which cannot handle it before its current callback has ended.

    Nothing is changed if the operator has chosen another policy, on systems other than Linux, and if the system call
    fails.
    """
    try:
        is_changed = sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER
        if is_changed:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        is_changed = False
    try:
        yield
    finally:
        if is_changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
