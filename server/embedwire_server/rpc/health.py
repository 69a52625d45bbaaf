"""The grpc.health.v1 service: liveness (service "") and readiness (the name of EmbeddingService).

It replaces the servicer of grpcio-health-checking, whose watches outlive a shutdown: one open watch makes a
graceful stop take its whole grace period. Here a watch ends once it has reported the shutdown.

A client with health checking keeps one watch for each of its connections to a server, and a proxy may put the
watches of many clients on one connection. They need no token, so their number is limited.
"""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2
from embedwire_server.observability.readiness import Check, Readiness
from embedwire_server.rpc.stream_limit import StreamLimit

SERVICE = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
PROBE_SECONDS = 3.0
MAX_WATCHES = 2_000
MAX_WATCHES_OF_A_CONNECTION = 500
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_SERVICES = ("", SERVICE)

Context = grpc.aio.ServicerContext[Any, Any]


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # it ships no types
    """Reports the health of the server ("") and of EmbeddingService, without any upstream call.

    Args:
        readiness: the checks of EmbeddingService; this object changes it, so that watches report each change.
    """

    def __init__(self, readiness: Readiness | None = None) -> None:
        self._readiness = readiness or Readiness()
        self._changed = asyncio.Condition()
        self._watches = StreamLimit("health watches", MAX_WATCHES, MAX_WATCHES_OF_A_CONNECTION)

    async def ready(self, check: Check = Check.GRPC) -> None:
        """Let a check pass; report SERVING if all do."""
        self._readiness.succeed(check)
        await self._notify()

    async def unready(self, check: Check, reason: str) -> None:
        """Let a check fail: report NOT_SERVING for EmbeddingService, but not for the server."""
        self._readiness.fail(check, reason)
        await self._notify()

    async def shut_down(self) -> None:
        """Report NOT_SERVING to all watches, and end them."""
        await self.unready(Check.DRAIN, "the server is draining")

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:  # noqa: N802
        """Return the status of one service."""
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def List(self, request: health_pb2.HealthListRequest, context: Context) -> health_pb2.HealthListResponse:  # noqa: ARG002, N802
        """Return the status of every service."""
        statuses = {name: health_pb2.HealthCheckResponse(status=self._status(name)) for name in _SERVICES}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Stream the status of one service, at first and on each change, until the shutdown."""
        with self._watches.held(context.peer()):
            await self._watch(request, context)

    async def _watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        sent, service = None, request.service
        while not (self._readiness.is_draining and sent == self._status(service)):
            sent = self._status(service)
            await context.write(health_pb2.HealthCheckResponse(status=sent))
            async with self._changed:
                while not self._readiness.is_draining and self._status(service) == sent:
                    await self._changed.wait()

    def _status(self, service: str) -> Any:  # noqa: ANN401 - an enum value; it ships no types
        if service == "":
            return NOT_SERVING if self._readiness.is_draining else SERVING
        if service == SERVICE:
            return SERVING if self._readiness.is_ready else NOT_SERVING
        return SERVICE_UNKNOWN

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def probe(target: str) -> str:
    """Check the readiness of EmbeddingService; return the name of its status, or of the failed call's status code."""
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
