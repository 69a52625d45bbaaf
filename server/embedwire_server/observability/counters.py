"""Prometheus counters and histograms without locks: one thread counts, others read.

Those of prometheus_client take a lock for each value, since any thread may change them. Here only the event loop's
thread does; the threads of the metrics endpoint read. Each family is a collector of the library's registry and returns
the library's metric families, so names, labels and the exposition format are the library's. There are no `_created`
series, and exemplars only with `exemplars.ExemplarHistogramFamily`.
"""

import abc
import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_INFINITY = math.inf


class CounterChild:
    """One series of a counter.

    Attributes:
        value: the sum of all amounts so far.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add an amount.

        Raises:
            ValueError: the amount is negative.
        """
        if amount < 0:
            raise ValueError("a counter cannot decrease")
        self.value += amount


class HistogramChild:
    """The series of a histogram for one combination of label values.

    Args:
        bounds: upper bounds of the buckets, ascending; the last is infinity.

    Attributes:
        counts: the number of values in each bucket so far, not cumulative.
        sum: the sum of all values so far.
    """

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * len(bounds)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value. As in prometheus_client, NaN changes the sum but belongs to no bucket."""
        if value <= _INFINITY:
            self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


_Child = TypeVar("_Child")


class _Family(Collector, Generic[_Child]):
    """All series of one metric. None is ever removed.

    Args:
        name: the name of the metric, without the suffixes of its series.
        documentation: the help text.
        labelnames: names of the labels.
        registry: where it is registered.

    Attributes:
        labels: returns the child for these label values, in the order of the names; the first call creates it. Raises
            ValueError if there are more or fewer values than names. Only the counting thread may call it.

    Raises:
        ValueError: the registry has a metric of this name.
    """

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labelnames)
        self._children: dict[tuple[str, ...], _Child] = {}
        self.labels: Callable[..., _Child] = functools.cache(self._child)  # costs less than a method with a look-up
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Yield the family without samples, from which the registry takes the names of the series."""
        yield self._family({})

    def collect(self) -> Iterator[Metric]:
        """Yield the family with its current samples. Thread-safe."""
        yield self._family(self._children.copy())  # the copy is atomic; a loop is not

    @abc.abstractmethod
    def _new(self) -> _Child: ...

    @abc.abstractmethod
    def _family(self, children: Mapping[tuple[str, ...], _Child]) -> Metric: ...

    def _child(self, *values: object) -> _Child:
        if len(values) != len(self._labelnames):
            raise ValueError(f"{self._name} has {len(self._labelnames)} labels, not {len(values)}")
        return self._children.setdefault(tuple(map(str, values)), self._new())


class CounterFamily(_Family[CounterChild]):
    """A counter with labels; its name is without `_total`."""

    def _new(self) -> CounterChild:
        return CounterChild()

    def _family(self, children: Mapping[tuple[str, ...], CounterChild]) -> Metric:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, child in children.items():
            family.add_metric(values, child.value)
        return family


class HistogramFamily(_Family[HistogramChild]):
    """A histogram with labels.

    In every exposition, the number of values is the count of the last bucket. The sum is read after the buckets: values
    that are counted at that moment may be in one and not in the other.

    Args:
        name: the name of the metric, without `_bucket`, `_count` and `_sum`.
        documentation: the help text.
        labelnames: names of the labels.
        buckets: upper bounds in the unit of the values: 0 or more, ascending, without infinity. A value equal to a
            bound belongs to its bucket.
        registry: where it is registered.

    Raises:
        ValueError: the bounds are negative or do not ascend, or the registry has a metric of this name.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._bounds = [*map(float, buckets), math.inf]
        if self._bounds != sorted(set(self._bounds)) or self._bounds[0] < 0:
            raise ValueError(f"{name}: the bounds of buckets must be 0 or more, and ascend")
        self._bound_names = [floatToGoString(bound) for bound in self._bounds]  # type: ignore[no-untyped-call]
        super().__init__(name, documentation, labelnames, registry=registry)

    def _new(self) -> HistogramChild:
        return HistogramChild(self._bounds)

    def _family(self, children: Mapping[tuple[str, ...], HistogramChild]) -> Metric:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, child in children.items():
            family.add_metric(values, self._buckets(child), child.sum)
        return family

    def _buckets(self, child: HistogramChild) -> list[Any]:
        """Return the bounds and counts of the buckets; cumulative, so they never decrease."""
        return list(zip(self._bound_names, accumulate(child.counts), strict=True))
