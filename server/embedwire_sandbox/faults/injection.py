"""Fault injection: applies a scripted fault to one call."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

import numpy as np
from aiohttp import web

from embedwire_sandbox.errors import error_body, nested_body
from embedwire_sandbox.faults.script import Fault
from embedwire_sandbox.media.vectors import Vector

_NO_LINGER: Final = struct.pack("ii", 1, 0)  # makes close send RST
_TOO_LARGE: Final = 413
_CODES: Final = {401: "api_key_invalid", 404: "not_found", _TOO_LARGE: "content_too_large", 429: "too_many_requests"}
_FORBIDDEN: Final = b"\x01"  # not valid in JSON, not even in a string


class HangUpError(ConnectionError):
    """A fault has ended the connection."""


class ReplacedReplyError(Exception):
    """A fault has replaced the response.

    Attributes:
        response: The response to send.
    """

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


class InjectedFault:
    """Applies a fault, if there is one, at each step of a call.

    Args:
        fault: The fault of this call, or `None`.

    Attributes:
        fault: The fault of this call, or `None`.
    """

    def __init__(self, fault: Fault | None) -> None:
        self.fault = fault
        self._kind = fault.kind if fault else None

    @property
    def failure(self) -> str | None:
        """Message with which a task or an asset that this call creates shall fail, or `None`."""
        return self.fault.message if self.fault and self._kind == "modality_error" else None

    @property
    def omits_vectors(self) -> bool:
        """Whether the member with the vectors is missing."""
        return self._kind == "no_segments"

    def changed(self, vector: Vector) -> Vector:
        """Return a vector of the response, modified by the fault."""
        change = _VECTOR_FAULTS.get(self._kind or "")
        return change(vector) if change else vector

    async def replace_reply(self, request: web.Request) -> None:
        """Wait as scripted, then apply a fault that needs no real response.

        Raises:
            ReplacedReplyError: The fault replaces the response.
            HangUpError: The fault has ended the connection.
        """
        if self.fault is None:
            return
        await asyncio.sleep(self.fault.delay_sec)
        if self._kind in {"reset", "close"}:
            _hang_up(request, reset=self._kind == "reset")
        if self._kind == "status":
            raise ReplacedReplyError(_status_reply(self.fault))

    async def before_reply(self, request: web.Request) -> None:
        """Hold or lose the response, as scripted; the call has had its effect.

        Raises:
            HangUpError: The fault has ended the connection.
        """
        if self.fault and self._kind == "hold":
            await asyncio.sleep(self.fault.pause_sec)
        if self._kind == "lost_reply":
            _hang_up(request, reset=False)

    async def garble(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield the body, malformed if the fault says so."""
        async with aclosing(_marked(pieces, self._mark("malformed_json"))) as marked:
            async for piece, reached in marked:
                yield piece + _FORBIDDEN if reached else piece

    async def send(
        self, request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
    ) -> None:
        """Write the body, with the pause or cut of the fault.

        Raises:
            HangUpError: The fault has cut the connection.
        """
        async with aclosing(_marked(pieces, self._mark("trickle", "cut"))) as marked:
            async for piece, reached in marked:
                await response.write(piece)
                if reached and self.fault:
                    if self._kind == "cut":
                        _hang_up(request, reset=False)
                    await asyncio.sleep(self.fault.pause_sec)

    def _mark(self, *kinds: str) -> int | None:
        return self.fault.after_bytes if self.fault and self._kind in kinds else None


def _first(value: float) -> Callable[[Vector], Vector]:
    return lambda vector: np.concatenate([np.array([value], dtype=np.float32), vector[1:]])


_VECTOR_FAULTS: Final[Mapping[str, Callable[[Vector], Vector]]] = {
    "wrong_dimensions": lambda vector: vector[:-1],
    "nan": _first(np.nan),
    "overflow": _first(np.inf),
}


async def _marked(pieces: AsyncGenerator[bytes, None], mark: int | None) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Yield the pieces, each with whether it ends at the mark; the piece across the mark is split."""
    left = mark
    async with aclosing(pieces):
        async for piece in pieces:
            if left is None or left > len(piece):
                yield piece, False
                left = None if left is None else left - len(piece)
            else:
                yield piece[:left], True
                yield piece[left:], False
                left = None


def _status_reply(fault: Fault) -> web.Response:
    code = _CODES.get(fault.status, "internal_server_error")
    written = nested_body if fault.status == _TOO_LARGE else error_body
    body = written(code, "A scripted fault.") if fault.body is None else fault.body.encode()
    headers = {"Content-Type": fault.content_type, **fault.headers}
    return web.Response(status=fault.status, body=body, headers=headers)


def _hang_up(request: web.Request, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        raise HangUpError
    if reset:
        # A second descriptor of the socket, since not every event loop allows setting options on its own.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
    else:
        transport.close()  # data that is already written is still sent
    raise HangUpError
