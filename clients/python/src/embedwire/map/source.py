"""The inputs of a run of `AsyncClient.map`, as an async iterator that can be closed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from embedwire import blocking

# Number of inputs of a list that are read before other tasks run.
_ITEMS_PER_TURN = 256


class Source:
    """The inputs of one run.

    Args:
        inputs: an iterable, which a thread advances unless it is a list or a tuple, or an async iterable.

    Raises:
        TypeError: the inputs are not iterable.
    """

    def __init__(self, inputs: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._is_async = isinstance(inputs, AsyncIterable)
        self._is_quick = isinstance(inputs, list | tuple)
        self._iterator: Any = aiter(inputs) if isinstance(inputs, AsyncIterable) else iter(inputs)

    def begin(self) -> AsyncIterator[Any]:
        """Return the async iterator; once only."""
        if not self._is_async:
            self._iterator = _directly(self._iterator) if self._is_quick else blocking.in_thread(self._iterator)
        found: AsyncIterator[Any] = self._iterator
        return found

    async def close(self) -> None:
        """Close the iterator of the caller if it has `close` or `aclose`, also if the reading has not begun."""
        if not hasattr(self._iterator, "aclose"):
            blocking.close(self._iterator)
            return
        with contextlib.suppress(Exception):  # there is no caller that could handle it
            await self._iterator.aclose()


async def _directly(inputs: Iterator[Any]) -> AsyncGenerator[Any]:
    for number, item in enumerate(inputs):
        if number % _ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)
        yield item
