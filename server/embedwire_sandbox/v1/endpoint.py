"""Handler of `POST /embed`.

The order of the checks is that of the upstream API notes, section 10, with one exception: the modalities are in the
body, so the rate limit is checked only once the body has arrived.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field

from aiohttp import web

from embedwire_sandbox.errors import wrong_key
from embedwire_sandbox.fault_injection import InjectedFault
from embedwire_sandbox.fault_script import FaultKind, FaultScript
from embedwire_sandbox.form import Form, FormLimits, read_form
from embedwire_sandbox.models import Modality
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.quota import Quota
from embedwire_sandbox.v1.embedder import Embedder
from embedwire_sandbox.v1.parameters import read_parameters
from embedwire_sandbox.v1.reply import pieces
from embedwire_sandbox.v1.result import Document


@dataclass(slots=True)
class RecordedRequest:
    """Journal entry of one embedding call, without its content.

    Attributes:
        parts: Names of its form parts, in the order of arrival.
        modalities: Modalities of its inputs.
        content_length: `Content-Length` of the request; `None` if the body was chunked.
        fault: Scripted fault of this call.
        status: HTTP status of the response; `None` if the connection ended before the response did.
    """

    parts: list[str] = field(default_factory=list)
    modalities: tuple[Modality, ...] = ()
    content_length: int | None = None
    fault: FaultKind | None = None
    status: int | None = None


RECORDED_REQUEST: web.RequestKey[RecordedRequest] = web.RequestKey("recorded", RecordedRequest)


class EmbedEndpoint:
    """Handler of embedding calls.

    Args:
        options: The options.
        faults: Scripted faults.
        quota: Rate limits.
        embedder: Computes the embeddings.
    """

    def __init__(self, options: SandboxOptions, faults: FaultScript, quota: Quota, embedder: Embedder) -> None:
        self._options = options
        self._faults = faults
        self._quota = quota
        self._embedder = embedder
        self._limits = FormLimits(options.max_field_bytes, options.max_file_bytes, options.max_body_bytes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle one call.

        Raises:
            RefusalError: The call gets an error response.
            HangUpError: A scripted fault ended the connection.
        """
        recorded = request[RECORDED_REQUEST]
        self._check_key(request)
        if early := await self._injected_fault(recorded, before_body=True).replace_reply(request):
            return early
        with Form() as form:
            await read_form(request, form, self._limits)
            recorded.parts, recorded.modalities = form.names, form.modalities
            await asyncio.sleep(self._options.latency_sec)
            injected_fault = self._injected_fault(recorded, before_body=False)
            if instead := await injected_fault.replace_reply(request):
                return instead
            return await self._embed(request, form, injected_fault)

    async def _embed(self, request: web.Request, form: Form, injected_fault: InjectedFault) -> web.StreamResponse:
        options = self._options
        self._quota.spend(form.modalities, retry_after=options.retry_after, empty=options.empty_429)
        parameters = read_parameters(form, options)
        async with AsyncExitStack() as stack:
            document = await self._embedder.embed(parameters, stack)
            return await _write(
                request, injected_fault.spoil(document), injected_fault, stream=parameters.audio is not None
            )

    def _check_key(self, request: web.Request) -> None:
        key = request.headers.get("x-api-key", "")
        if not key or self._options.api_key not in (None, key):
            raise wrong_key()

    def _injected_fault(self, recorded: RecordedRequest, *, before_body: bool) -> InjectedFault:
        fault = self._faults.take(recorded.modalities, before_body=before_body)
        recorded.fault = fault.kind if fault else recorded.fault
        return InjectedFault(fault)


async def _write(
    request: web.Request, document: Document, injected_fault: InjectedFault, *, stream: bool
) -> web.StreamResponse:
    """Write the response: streamed in chunks if it has audio, else with its length."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    async with aclosing(injected_fault.garble(pieces(document))) as body:
        if stream:
            await response.prepare(request)
            await injected_fault.send(request, response, body)
        else:
            whole = b"".join([piece async for piece in body])
            response.content_length = len(whole)
            await response.prepare(request)
            await injected_fault.send(request, response, _once(whole))
    await response.write_eof()
    return response


async def _once(piece: bytes) -> AsyncGenerator[bytes, None]:
    yield piece
