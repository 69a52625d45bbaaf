"""How the kernel schedules the threads of this process."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def batch_threads() -> Iterator[None]:
    """Give threads that are started within, by any library, the policy SCHED_BATCH, which they inherit.

    Such a thread gets its share of the CPU, but it does not preempt a running thread when it wakes up. gRPC has threads
    that only pass events to the thread of the event loop, some eight for a call. On the same core, each event would
    interrupt the event loop, which cannot take it before it has done what it is doing.

    Nothing happens where the operator has chosen another policy, on other systems than Linux, and where the system
    answers with an error.
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
