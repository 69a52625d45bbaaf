"""Failures of the server, as the client reads them from the status of a call and from a result."""

from typing import Any

import grpc

from embedwire import EmbedwireError, Failure
from embedwire.details import error_from_call
from embedwire.details import failure as read_failure
from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core import errors
from embedwire_server.core.errors import Reason
from embedwire_server.rpc import error_details, status


def failed(reason: Reason, message: str = "so it is", **more: Any) -> errors.GatewayError:
    error = errors.GatewayError(message, **more)
    error.reason = reason
    return error


class Call:
    """A failed call with the interface of grpc."""

    def __init__(self, code: grpc.StatusCode, message: str | None, trailers: Any = ()) -> None:
        self._facts = code, message, trailers

    def code(self) -> grpc.StatusCode:
        return self._facts[0]

    def details(self) -> str | None:
        return self._facts[1]

    def trailing_metadata(self) -> Any:
        return self._facts[2]


def by_status(error: errors.GatewayError) -> EmbedwireError:
    trailers = [("x-request-id", "theirs"), (error_details.DETAILS_KEY, error_details.details(error))]
    return error_from_call(Call(status.code(error), status.message(error), trailers), "mine")


def by_result(error: errors.GatewayError) -> Failure:
    return read_failure(pb.Failure.FromString(error_details.failure_message(error).SerializeToString()))
