"""EmbeddingService: decode, call, encode. Rules, policies and failures live elsewhere."""

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Never

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.domain import EmbedRequest, Event
from embedwire_server.gateway import Gateway
from embedwire_server.merge import merge
from embedwire_server.rpc import calls, replies, upload
from embedwire_server.rpc.catalog import Catalog
from embedwire_server.rpc.replies import Last
from embedwire_server.rpc.requests import Request, RequestReader
from embedwire_server.rpc.unary import UnaryReply

Context = grpc.aio.ServicerContext[Any, Any]


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The four RPCs. Their deadline, their failures and their metrics are the interceptors' work.

    Args:
        gateway: what does the work.
        requests: how requests are read.
        catalog: what ListModels shows.
        upload_idle_timeout: seconds in which some of an upload has to arrive.
    """

    def __init__(
        self, gateway: Gateway, requests: RequestReader, catalog: Catalog, upload_idle_timeout: float = 30.0
    ) -> None:
        self._gateway = gateway
        self._upload_idle_timeout = upload_idle_timeout
        self.renew(requests, catalog)

    def renew(self, requests: RequestReader, catalog: Catalog) -> None:
        """Read and show by other models and limits from the next call on."""
        self._requests = requests
        self._catalog = catalog

    async def CreateEmbedding(  # type: ignore[override] # noqa: N802 - the last message says that it is
        self,
        request: pb.CreateEmbeddingRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncGenerator[pb.CreateEmbeddingResponse | Last[pb.CreateEmbeddingResponse]]:
        """Stream the segments and results of all inputs."""
        write = replies.EventWriter(pb.CreateEmbeddingResponse, request.vector_encoding, len(request.inputs))
        events = self._answer(self._read(request))
        try:
            async for event in events:
                yield write(event)

        finally:
            await events.aclose()

    async def CreateEmbeddingUnary(  # noqa: N802
        self,
        request: pb.CreateEmbeddingUnaryRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.CreateEmbeddingUnaryResponse:
        """Collect the segments and results of all inputs."""
        reply = UnaryReply(len(request.inputs), request.vector_encoding)
        events = self._answer(self._read(request))
        try:
            async for event in events:
                reply.add(event)
        finally:
            await events.aclose()
        return reply.message()

    async def CreateEmbeddingFromUpload(  # type: ignore[override] # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.CreateEmbeddingFromUploadRequest],
        context: Context,  # noqa: ARG002
    ) -> AsyncGenerator[pb.CreateEmbeddingFromUploadResponse | Last[pb.CreateEmbeddingFromUploadResponse]]:
        """Stream the segments and results of all inputs, while their files still arrive."""
        request = await upload.first_request(request_iterator)
        call = calls.current.get()
        async with upload.told_at_the_end(request_iterator):
            wanted, uploads = self._requests.read_upload(request, call.upstream_key, call.caller)
            wanted = _allowed(wanted)
        write = replies.EventWriter(pb.CreateEmbeddingFromUploadResponse, request.vector_encoding, len(request.inputs))
        with upload.closing(uploads):
            is_single = len(wanted.inputs) == 1
            receiver = upload.Receiver(request_iterator, uploads, self._upload_idle_timeout, is_single=is_single)
            events = self._answer(wanted, receiver.run())
            try:
                async for event in events:
                    yield write(event)

            finally:
                await events.aclose()

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Show one page of the model table."""
        return self._catalog.page(request, calls.current.get().token)

    def _read(self, request: Request) -> EmbedRequest:
        call = calls.current.get()
        return _allowed(self._requests.read(request, call.upstream_key, call.caller))

    def _answer(self, wanted: EmbedRequest, *beside: AsyncGenerator[Never]) -> AsyncGenerator[Event]:
        """The events of a request, with what has to run beside them."""
        call = calls.current.get()
        call.model = wanted.model.name
        if wanted.has_audio:
            call.deadline.allow_for_audio()
        return merge([self._gateway.embed(wanted, call.deadline.at), *beside], 1 + len(beside))


def _allowed(wanted: EmbedRequest) -> EmbedRequest:
    """The request, with what its caller may use.

    Raises:
        PermissionDenied: its token does not allow it.
    """
    token = calls.current.get().token
    if token is None:
        return wanted
    token.check(wanted)
    return dataclasses.replace(wanted, allowance=token.allowance)
