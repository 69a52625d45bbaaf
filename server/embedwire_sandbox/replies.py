"""Writes responses, changed by the fault of their call."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from embedwire_sandbox.faults.injection import InjectedFault


async def send(  # noqa: PLR0913
    request: web.Request,
    fault: InjectedFault,
    body: AsyncGenerator[bytes, None],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    stream: bool = False,
) -> web.StreamResponse:
    """Write a JSON response: streamed in chunks, or with its length.

    Raises:
        HangUpError: The fault has ended the connection.
    """
    response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **(headers or {})})
    async with aclosing(fault.garble(body)) as pieces:
        if stream:
            await fault.before_reply(request)
            await response.prepare(request)
            await fault.send(request, response, pieces)
        else:
            whole = b"".join([piece async for piece in pieces])
            response.content_length = len(whole)
            await fault.before_reply(request)
            await response.prepare(request)
            await fault.send(request, response, once(whole))
    await response.write_eof()
    return response


async def send_json(
    request: web.Request,
    fault: InjectedFault,
    document: Any,  # noqa: ANN401
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Write a document as a JSON response."""
    return await send(request, fault, once(json.dumps(document).encode()), status=status, headers=headers)


async def send_empty(
    request: web.Request, fault: InjectedFault, *, status: int, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Return a response without a body."""
    await fault.before_reply(request)
    return web.Response(status=status, headers=headers)


async def once(piece: bytes) -> AsyncGenerator[bytes, None]:
    """Yield one piece."""
    yield piece
