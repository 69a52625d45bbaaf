"""Requests of a remote store, several at a time, with their results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 16
# Maximum number of results that are waited for.
AHEAD = 32


def in_order(tasks: Iterable[tuple[bool, Callable[[], T]]]) -> Iterator[T]:
    """Yield the results of functions in order.

    Args:
        tasks: whether the function waits for a remote store, and the function. Those that do are called by threads,
            before the results of earlier ones have been yielded. Without them, each result is yielded before the next
            function is taken.

    Raises:
        Exception: the exception of a function.
    """
    pending: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(THREADS, "embedwire-source")
    try:
        for is_remote, work in tasks:
            if not pending and not is_remote:
                yield work()
                continue
            pending.append(pool.submit(work))
            while pending and (len(pending) >= AHEAD or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
