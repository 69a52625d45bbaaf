"""Histograms with exemplars, which link their buckets to traces; used only if tracing is on.

Only the OpenMetrics format shows them, which a scraper requests by its `Accept` header.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from prometheus_client.samples import Exemplar

from embedwire_server.observability import trace_context
from embedwire_server.observability.counters import HistogramChild, HistogramFamily


class ExemplarHistogramChild(HistogramChild):
    """A `HistogramChild` that keeps, for each bucket, the latest value within a recorded span of this server.

    Attributes:
        exemplars: by bucket; None without one.
    """

    __slots__ = ("exemplars",)

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__(bounds)
        self.exemplars: list[Exemplar | None] = [None] * len(bounds)

    def observe(self, value: float) -> None:
        """Count a value."""
        super().observe(value)
        trace = trace_context.current.get()
        if trace is not None and trace.is_sampled and not trace.is_remote:
            labels = {"trace_id": trace.trace_id, "span_id": trace.span_id}
            self.exemplars[bisect_left(self._bounds, value)] = Exemplar(labels, value, time.time())


class ExemplarHistogramFamily(HistogramFamily):
    """A `HistogramFamily` with exemplars."""

    def _new(self) -> HistogramChild:
        return ExemplarHistogramChild(self._bounds)

    def _buckets(self, child: HistogramChild) -> list[Any]:
        buckets = super()._buckets(child)
        exemplars = child.exemplars if isinstance(child, ExemplarHistogramChild) else ()
        return [(*bucket, exemplar) for bucket, exemplar in zip(buckets, exemplars, strict=True)]
