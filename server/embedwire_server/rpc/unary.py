"""The answer of CreateEmbeddingUnary: all events in one message."""

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.domain import Event, InputSegment
from embedwire_server.errors import ReplyTooLarge
from embedwire_server.rpc import replies

# What every gRPC client accepts without being configured.
MAX_REPLY_BYTES = 4 << 20
_FRAMING_BYTES = 16  # tags and lengths around a part, at most


class UnaryReply:
    """Collects the events of a call.

    Args:
        inputs: how many inputs the request has.
        encoding: how vectors are written.
    """

    def __init__(self, inputs: int, encoding: pb.VectorEncoding.ValueType) -> None:
        self._embeddings = [pb.InputEmbedding() for _ in range(inputs)]
        self._encoding = encoding
        self._sizes = [0] * inputs

    def add(self, event: Event) -> None:
        """Take one event. A failure drops the segments of its input.

        Raises:
            ReplyTooLarge: it does not fit any more.
        """
        embedding = self._embeddings[event.input_index]
        if isinstance(event, InputSegment):
            message = embedding.segments.add()
            replies.write_segment(message, event, self._encoding)
            self._sizes[event.input_index] += message.ByteSize() + _FRAMING_BYTES
        else:
            embedding.result.CopyFrom(replies.result(event))
            if event.failure is not None:
                del embedding.segments[:]
                self._sizes[event.input_index] = 0
            self._sizes[event.input_index] += embedding.result.ByteSize() + _FRAMING_BYTES
        if sum(self._sizes) > MAX_REPLY_BYTES:
            raise ReplyTooLarge(
                f"the reply is larger than {MAX_REPLY_BYTES} bytes; use CreateEmbedding, which streams it"
            )

    def message(self) -> pb.CreateEmbeddingUnaryResponse:
        """The whole answer."""
        return pb.CreateEmbeddingUnaryResponse(embeddings=self._embeddings)
