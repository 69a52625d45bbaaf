"""EmbeddingService: the four RPCs. Validation, policies and error mapping are in other modules."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.auth.own_tasks import OwnTasks
from embedwire_server.config.settings import Settings
from embedwire_server.core.inputs import EmbedRequest
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.gateway.task_group import run_together
from embedwire_server.rpc import call_context, encode, upload_stream
from embedwire_server.rpc.decode import RequestReader
from embedwire_server.rpc.flow_control import MessageWriter
from embedwire_server.rpc.list_models import Catalog
from embedwire_server.rpc.unary_reply import UnaryReply
from embedwire_server.upstreams.base import EmbedCall

Context = grpc.aio.ServicerContext[Any, Any]


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The four RPCs. Interceptors handle their deadlines, errors and metrics.

    Args:
        gateway: embeds the inputs.
        requests: decodes requests.
        catalog: the models for ListModels.
        upload_idle_timeout: seconds in which a part of an upload has to arrive; see `upload_stream.Receiver`.
    """

    def __init__(
        self, gateway: Gateway, requests: RequestReader, catalog: Catalog, upload_idle_timeout: float = 30.0
    ) -> None:
        self._gateway = gateway
        self._upload_idle_timeout = upload_idle_timeout
        self._requests = requests
        self._catalog = catalog
        self._own_tasks = OwnTasks()

    def reconfigure(self, settings: Settings) -> None:
        """Use the models and limits of these settings from the next call on."""
        self._requests.reconfigure(settings)
        self._catalog.reconfigure(settings)

    async def CreateEmbedding(  # type: ignore[override] # noqa: N802 - it returns the last message
        self, request: pb.CreateEmbeddingRequest, stream: MessageWriter
    ) -> pb.CreateEmbeddingResponse | None:
        """Stream the segments and results of all inputs."""
        call = call_context.current.get()
        reply = encode.StreamReply(
            pb.CreateEmbeddingResponse,
            request.vector_encoding,
            len(request.inputs),
            request.max_segments_per_message,
            stream.write,
            self._following(call, len(request.inputs)),
        )
        wanted = self._requests.read(request, call.upstream_key, call.caller)
        await self._gateway.embed(self._allowed(wanted, call), call.deadline, reply)
        return reply.last

    async def CreateEmbeddingUnary(  # noqa: N802
        self,
        request: pb.CreateEmbeddingUnaryRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.CreateEmbeddingUnaryResponse:
        """Return the segments and results of all inputs in one message."""
        call = call_context.current.get()
        inputs = len(request.inputs)
        reply = UnaryReply(inputs, request.vector_encoding, self._following(call, inputs))
        wanted = self._requests.read(request, call.upstream_key, call.caller)
        await self._gateway.embed(self._allowed(wanted, call), call.deadline, reply)
        return reply.message()

    async def CreateEmbeddingFromUpload(  # type: ignore[override] # noqa: N802 - it returns the last message
        self, request_iterator: AsyncIterator[pb.CreateEmbeddingFromUploadRequest], stream: MessageWriter
    ) -> pb.CreateEmbeddingFromUploadResponse | None:
        """Stream the segments and results of all inputs, while their files are still arriving."""
        request = await upload_stream.first_request(request_iterator)
        call = call_context.current.get()
        async with upload_stream.draining_at_exit(request_iterator):
            wanted, uploads = self._requests.read_upload(request, call.upstream_key, call.caller)
            wanted = self._allowed(wanted, call)
        reply = encode.StreamReply(
            pb.CreateEmbeddingFromUploadResponse,
            request.vector_encoding,
            len(request.inputs),
            request.max_segments_per_message,
            stream.write,
            self._following(call, len(request.inputs)),
        )
        is_single = len(wanted.inputs) == 1
        receiver = upload_stream.Receiver(request_iterator, uploads, self._upload_idle_timeout, is_single=is_single)
        with upload_stream.closing(uploads):
            await run_together(self._gateway.embed(wanted, call.deadline, reply), receiver.run())
        return reply.last

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Return one page of the model table."""
        return self._catalog.page(request, call_context.current.get().token)

    def _allowed(self, wanted: EmbedRequest, call: call_context.Call) -> EmbedRequest:
        """Check a request against its caller's token, add the token's quota, and let the call take its totals.

        Raises:
            GatewayError: the token does not permit the request.
        """
        call.model, call.totals = wanted.model.name, wanted.totals
        if call.token is not None:
            call.token.check(wanted, self._own_tasks)
            wanted = dataclasses.replace(wanted, quota=call.token.quota)
        if wanted.has_task:
            call.allow_for_task()
        elif wanted.has_audio:
            call.allow_for_audio()
        return wanted

    def _following(self, call: call_context.Call, inputs: int) -> Callable[[EmbedCall], None]:
        """Return a function that notes a new stage of an input: a task has a longer default deadline."""

        def follow(embed: EmbedCall) -> None:
            if embed.uses_task:
                call.allow_for_task()
                embed.deadline = call.deadline
            if inputs == 1:
                call.task_id = embed.task_id
            if call.token is not None and embed.task_id and embed.credential is None:
                self._own_tasks.add(call.token.name, embed.task_id)

        return follow
