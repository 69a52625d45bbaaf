"""An input whose time is up is not sent: the outermost policy.

What waits is bounded by the call itself, which is cancelled when its deadline passes
(`rpc.calls.Deadline`); that alone would let an expired one run to its first wait, the request.
"""

import asyncio
from collections.abc import AsyncGenerator

from embedwire_server.errors import DeadlineExceeded
from embedwire_server.metrics import Metrics
from embedwire_server.upstream import Part, Upstream, UpstreamCall


class DeadlineUpstream:
    """Refuses expired inputs, see `Upstream`.

    Args:
        upstream: gets the others.
        metrics: told of the expired ones.
    """

    def __init__(self, upstream: Upstream, metrics: Metrics) -> None:
        self._upstream = upstream
        self._metrics = metrics

    def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Embed one input that still has time.

        Raises:
            DeadlineExceeded: it has none.
        """
        if asyncio.get_running_loop().time() >= call.deadline:
            self._metrics.expired_inputs.labels(call.input.modality).inc()
            raise DeadlineExceeded
        return self._upstream.embed(call)
