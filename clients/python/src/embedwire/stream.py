"""Event stream of one call, for the synchronous client."""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from embedwire import replies
from embedwire.details import error_from_call
from embedwire.pushback import PushbackRetry
from embedwire.results import Event, Result
from embedwire.tasks import LastTask
from embedwire.uploads import UploadMessages


class Stream(Iterator[Event]):
    """Iterator over the events of one call, as they arrive. A context manager that cancels the call on exit.

    Iterating raises `EmbedwireError` if the call or its only input fails, and `OSError` if a file cannot be read.

    Attributes:
        request_id: id of the call in the server's log.
        upload: messages of an upload; None for other calls.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        request_id: str,
        task: LastTask,
        retry: PushbackRetry | None = None,
        upload: UploadMessages | None = None,
    ) -> None:
        self.request_id = request_id
        self._task = task
        self._start = start
        self._retry = retry  # None after the first message
        self.upload = upload
        self._events: Iterator[Event] = iter(())  # of the last message
        self._closed = threading.Event()
        self._call: Any = None
        self._call = start()  # may raise; `__del__` needs the attribute

    def __next__(self) -> Event:
        while not self._closed.is_set():
            event = next(self._events, None)
            if event is None:
                self._events = replies.events(self._message(), self.request_id)
                continue
            self._task.note(event)
            if isinstance(event, Result) and self.upload is not None:
                self.upload.skip(event.input_index)
            return event
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the call if it is running, and end the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def _message(self) -> replies.Response:
        while True:
            try:
                message: replies.Response = next(self._call)
            except grpc.RpcError as error:
                delay = self._delay_or_raise(error)
            else:
                self._retry = None
                return message
            if self._closed.wait(delay):
                raise StopIteration
            self._call = self._start()
            if self._closed.is_set():  # by another thread, during the start
                self._call.cancel()

    def _delay_or_raise(self, error: Any) -> float:  # noqa: ANN401 - a grpc.RpcError that is a call
        """Return the seconds until the retry, or raise the exception of the call if it is not retried."""
        if self._closed.is_set():
            raise StopIteration from None
        if self.upload is not None and self.upload.error is not None:
            raise self.upload.error from None
        delay = None if self._retry is None else self._retry.delay(error)
        if delay is None:
            raise error_from_call(error, self.request_id, self._task.id) from None
        return delay
