"""Base class of both clients: arguments, start of calls, close."""

import functools
import itertools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import grpc

from embedwire import vectors
from embedwire.connection import DEFAULT_TARGET, TLS, Connection
from embedwire.errors import ClosedError
from embedwire.v1 import embedding_pb2_grpc


class Stoppable(Protocol):
    """A run of `map` that can be stopped from outside."""

    def stop(self, error: BaseException | None) -> None:
        """Stop the run; its consumer receives the error."""


class BaseClient:
    """Base class of `Client` and `AsyncClient`, with their arguments; see `Client`."""

    def __init__(  # noqa: PLR0913 - keyword arguments with defaults
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: TLS | bool = False,
        token: str | None = None,
        upstream_api_key: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool = False,
        retry_on_pushback: bool = True,
        channels: int = 1,
        keepalive_time: float | None = 60.0,
        interceptors: Sequence[Any] = (),
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        vectors.preload_numpy()
        self._connection = Connection(
            target=target,
            tls=tls,
            token=token,
            upstream_api_key=upstream_api_key,
            timeout=timeout,
            wait_for_ready=wait_for_ready,
            retry_on_pushback=retry_on_pushback,
            channels=channels,
            keepalive_time=keepalive_time,
            interceptors=interceptors,
            channel_options=channel_options,
        )
        self._runs: weakref.WeakSet[Stoppable] = weakref.WeakSet()
        self._is_closed = False
        self._open()

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickle and copy: the copy has the same arguments, and separate connections."""
        return functools.partial(type(self), **self._connection.arguments), ()

    def _open(self) -> None:
        """Open the channels; they connect with their first calls."""

    def _stop_runs(self) -> None:
        self._is_closed = True
        for run in list(self._runs):
            run.stop(ClosedError())

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError

    def _begin(self, method: Any, request: Any, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - a method of a stub
        """Begin a gRPC call.

        Raises:
            ClosedError: the client is closed, possibly by another thread during the call.
        """
        self._check_open()
        try:
            return method(request, **arguments)
        except grpc.RpcError:
            raise
        except Exception:  # the error of a closed channel, whose type is private in grpc.aio
            self._check_open()
            raise


def in_turn(channels: Iterable[Any]) -> Iterator[Any]:
    """Return an endless iterator over the stubs of these channels (round robin)."""
    return itertools.cycle([embedding_pb2_grpc.EmbeddingServiceStub(channel) for channel in channels])
