"""The reply of CreateEmbeddingUnary: all segments and results in one message."""

from collections.abc import Callable

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import GatewayError, ReplyTooLarge
from embedwire_server.core.results import ReplySummary, Segment, Stage
from embedwire_server.rpc import encode
from embedwire_server.upstreams.base import EmbedCall

# The default limit of gRPC clients on received messages.
MAX_REPLY_BYTES = 4 << 20
_FRAMING_BYTES = 16  # tags and lengths around a part, at most


class UnaryReply:
    """Collects the segments and results of a request; see `gateway.Reply`.

    Args:
        inputs: the number of inputs of the request.
        encoding: the encoding of vectors.
        follow: called with the input at each new stage of it, since stages are not sent.
    """

    def __init__(
        self,
        inputs: int,
        encoding: pb.VectorEncoding.ValueType,
        follow: Callable[[EmbedCall], None] = encode.ignore_stage,
    ) -> None:
        self._follow = follow
        self._message = pb.CreateEmbeddingUnaryResponse()
        self._embeddings = [self._message.embeddings.add() for _ in range(inputs)]
        self._encoding = encoding
        self._sizes = [0] * inputs

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        """Add segments.

        Raises:
            ReplyTooLarge: the reply exceeds its limit.
        """
        embedding = self._embeddings[call.index]
        for number, segment in enumerate(segments, first):
            message = embedding.segments.add()
            encode.write_segment(message, call, number, segment, self._encoding)
            self._charge(call.index, message.ByteSize())

    async def add_progress(self, call: EmbedCall, stage: Stage) -> None:  # noqa: ARG002 - it is not sent
        """Note a stage. It is not sent: the only message is sent at the end."""
        self._follow(call)

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        """Add a result. A failure drops the segments of its input.

        Raises:
            ReplyTooLarge: the reply exceeds its limit.
        """
        embedding = self._embeddings[call.index]
        encode.write_result(embedding.result, call, summary, failure)
        if failure is not None:
            del embedding.segments[:]
            self._sizes[call.index] = 0
        self._charge(call.index, embedding.result.ByteSize())

    def message(self) -> pb.CreateEmbeddingUnaryResponse:
        """Return the complete reply."""
        return self._message

    def _charge(self, index: int, size: int) -> None:
        self._sizes[index] += size + _FRAMING_BYTES
        if sum(self._sizes) > MAX_REPLY_BYTES:
            raise ReplyTooLarge(
                f"the reply is larger than {MAX_REPLY_BYTES} bytes; use CreateEmbedding, which streams it"
            )
