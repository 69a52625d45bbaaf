"""Handler of `POST /embed`.

The order of the checks is that of the upstream API notes, section 10, with one exception: the modalities are in the
body, so the rate limit is checked only once the body has arrived.
"""

from contextlib import AsyncExitStack

from aiohttp import web

from embedwire_sandbox.bodies.form import Form, FormLimits, read_form
from embedwire_sandbox.calls import RECORDED_REQUEST
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.replies import send
from embedwire_sandbox.v1.embedder import Embedder
from embedwire_sandbox.v1.parameters import FIELD_PARTS, FILE_PARTS, modalities, read_parameters
from embedwire_sandbox.v1.reply import pieces
from embedwire_sandbox.v1.spoiling import spoiled


class EmbedEndpoint:
    """Handler of embedding calls.

    Args:
        options: The options.
        gate: Checks that all operations share.
        embedder: Computes the embeddings.
    """

    def __init__(self, options: SandboxOptions, gate: Gate, embedder: Embedder) -> None:
        self._options = options
        self._gate = gate
        self._embedder = embedder
        self._limits = FormLimits(options.max_field_bytes, options.max_file_bytes, options.max_body_bytes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle one call.

        Raises:
            RefusalError: The call gets an error response.
            ReplacedReplyError: A scripted fault replaces the response.
            HangUpError: A scripted fault ended the connection.
        """
        recorded = request[RECORDED_REQUEST]
        with Form() as form:
            await read_form(request, form, self._limits, FIELD_PARTS, FILE_PARTS)
            recorded.parts, recorded.modalities = form.names, modalities(form)
            fault = await self._gate.after_body(request)
            parameters = read_parameters(form, self._options)
            async with AsyncExitStack() as stack:
                document = spoiled(await self._embedder.embed(parameters, stack), fault)
                return await send(request, fault, pieces(document), stream=parameters.audio is not None)
