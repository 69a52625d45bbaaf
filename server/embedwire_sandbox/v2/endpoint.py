"""Handler of `POST /embed-v2`."""

from aiohttp import web

from embedwire_sandbox.bodies.json_body import BodyLimits, JsonBody, read_json
from embedwire_sandbox.calls import RECORDED_REQUEST
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.replies import send
from embedwire_sandbox.v2.embedder import Embedder
from embedwire_sandbox.v2.parameters import modalities_of, read_parameters
from embedwire_sandbox.v2.result import pieces


class EmbedEndpoint:
    """Handler of synchronous calls.

    Args:
        options: The options.
        gate: Checks that all operations share.
        embedder: Computes the embeddings.
    """

    def __init__(self, options: SandboxOptions, gate: Gate, embedder: Embedder) -> None:
        self._gate = gate
        self._embedder = embedder
        self._limits = BodyLimits(options.max_field_bytes, options.max_file_bytes, options.max_body_bytes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle one call.

        Raises:
            RefusalError: The call gets an error response.
            ReplacedReplyError: A scripted fault replaces the response.
            HangUpError: A scripted fault ended the connection.
        """
        recorded = request[RECORDED_REQUEST]
        with JsonBody() as body:
            await read_json(request, body, self._limits)
            recorded.parts, recorded.modalities = list(body.members), modalities_of(body.members)
            fault = await self._gate.after_body(request)
            embeddings = await self._embedder.embed(read_parameters(body.members), request.headers["x-api-key"])
        return await send(request, fault, pieces(embeddings, fault), stream=len(embeddings.items) > 1)
