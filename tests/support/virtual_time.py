"""An event loop with a virtual clock: when no callback is ready, it advances to the next timer."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")
THREAD_SECONDS = 0.05  # longest wait for a thread, which wakes the loop when it has ended


class _Selector(selectors.SelectSelector):
    """A selector that records its timeout instead of waiting; while threads work for the loop, it waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.threads and timeout:
            return super().select(THREAD_SECONDS)
        self.waited += max(0.0, timeout or 0.0)
        return super().select(None if timeout is None else 0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on which time passes without waiting."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.waited

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run a function in a thread; the clock does not advance meanwhile, so that its speed does not matter."""
        future = super().run_in_executor(executor, func, *args)
        self._clock.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._clock.threads -= 1

    def pass_time(self, seconds: float) -> None:
        """Let time pass while no callback runs, as on a busy machine."""
        self._clock.waited += seconds


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on such a loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def settled() -> None:
    """Run all callbacks that are ready without advancing the clock."""
    for _ in range(20):
        await asyncio.sleep(0)
