"""Lock-free counters and histograms, compared with those of prometheus_client."""

import itertools
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import prometheus_client
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.openmetrics import exposition as openmetrics

from embedwire_server.core.models import Modality
from embedwire_server.observability.counters import CounterFamily, HistogramFamily

LABELS = ("modality", "a_model")
BOUNDS = (0.005, 0.1, 1, 2.5, 600, 1_000_000)
AMOUNTS = st.one_of(st.integers(0, 1000), st.floats(0), st.just(math.nan))
VALUES = st.one_of(st.sampled_from([*BOUNDS, math.nan]), st.floats())
CHANGES = st.lists(st.tuples(st.tuples(st.sampled_from(Modality), st.text(max_size=2)), AMOUNTS, VALUES), max_size=20)


class Families(NamedTuple):
    """A counter and a histogram in a registry of their own."""

    registry: CollectorRegistry
    counter: CounterFamily | Counter
    histogram: HistogramFamily | Histogram


def ours() -> Families:
    registry = CollectorRegistry()
    counter = CounterFamily("events", 'Help with "\\\n.', LABELS, registry=registry)
    return Families(registry, counter, HistogramFamily("seconds", "Help.", LABELS, buckets=BOUNDS, registry=registry))


def theirs() -> Families:
    registry = CollectorRegistry()
    counter = Counter("events", 'Help with "\\\n.', LABELS, registry=registry)
    return Families(registry, counter, Histogram("seconds", "Help.", LABELS, buckets=BOUNDS, registry=registry))


def pages(registry: CollectorRegistry, *names: str) -> list[bytes]:
    """Return the text and the OpenMetrics exposition; with names, of these series only."""
    chosen = registry.restricted_registry(names) if names else registry
    return [prometheus_client.generate_latest(chosen), openmetrics.generate_latest(chosen)]  # type: ignore[no-untyped-call]


def read(histogram: HistogramFamily | Histogram) -> Iterator[tuple[list[float], float]]:
    """Return the buckets and the count of each child."""
    samples = [sample for metric in histogram.collect() for sample in metric.samples]
    for _, group in itertools.groupby(samples, lambda sample: [sample.labels[name] for name in LABELS]):
        values = [(sample.name, sample.value) for sample in group]
        yield [value for name, value in values if name == "seconds_bucket"], dict(values)["seconds_count"]


@pytest.fixture(autouse=True, scope="module")
def _no_created_series() -> Iterator[None]:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    yield
    prometheus_client.enable_created_metrics()  # type: ignore[no-untyped-call]


@given(CHANGES)
@example([((Modality.TEXT, "m"), math.nan, math.nan), ((Modality.TEXT, "m"), 1, 0.1)])
@example([((Modality.TEXT, "m"), math.inf, math.inf), ((Modality.TEXT, "m"), 0, -math.inf)])
def test_pages_are_those_of_the_library(changes: Sequence[tuple[tuple[Modality, str], float, float]]) -> None:
    """Text and OpenMetrics expositions equal those of prometheus_client for the same data, byte for byte."""
    for families in (own := ours(), library := theirs()):
        for labels, amount, value in changes:
            families.counter.labels(*labels).inc(amount)
            families.histogram.labels(*labels).observe(value)
    assert pages(own.registry) == pages(library.registry)


@pytest.mark.parametrize("name", ["events_total", "seconds_bucket", "seconds_count", "seconds_sum", "events"])
def test_series_can_be_chosen_by_name(name: str) -> None:
    """The metrics endpoint's filter by name finds the same series as with prometheus_client."""
    for families in (own := ours(), library := theirs()):
        families.counter.labels("text", "m").inc()
        families.histogram.labels("text", "m").observe(1)
    assert pages(own.registry, name) == pages(library.registry, name)


def test_names_are_taken_once() -> None:
    """The registry refuses a second metric of the same name, of either implementation."""
    registry = ours().registry
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        CounterFamily("events", "", LABELS, registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Counter("seconds_sum", "", LABELS, registry=registry)


@pytest.mark.parametrize("values", [(), ("text",), ("text", "m", "OK")])
def test_labels_are_complete(values: tuple[str, ...]) -> None:
    """A wrong number of label values raises, also the second time, and creates no series."""
    families = ours()
    for family in (families.counter, families.histogram):
        for _ in range(2):
            with pytest.raises(ValueError, match=f"has 2 labels, not {len(values)}"):
                family.labels(*values)
    assert pages(families.registry) == pages(ours().registry)


def test_children_are_kept() -> None:
    """The same label values give the same child, as enumeration members, text or other objects."""
    counter = ours().counter
    assert counter.labels(Modality.TEXT, "1") is counter.labels("text", "1") is counter.labels("text", 1)
    assert counter.labels("text", "1") is not counter.labels("text", "2")


def test_series_exist_from_their_first_labels() -> None:
    """A child without counts is exposed with zeros."""
    registry = CollectorRegistry()
    CounterFamily("events", "", ("a",), registry=registry).labels("b")
    HistogramFamily("seconds", "", ("a",), buckets=[1], registry=registry).labels("b")
    names = ("events_total", "seconds_count", "seconds_sum")
    assert [registry.get_sample_value(name, {"a": "b"}) for name in names] == [0, 0, 0]


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        pytest.param(-1, [1, 1, 1], id="negative"),
        pytest.param(0, [1, 1, 1], id="zero"),
        pytest.param(0.1, [1, 1, 1], id="on the first bound"),
        pytest.param(math.nextafter(0.1, 1), [0, 1, 1], id="just above it"),
        pytest.param(1, [0, 1, 1], id="on the last bound"),
        pytest.param(math.nextafter(1, 2), [0, 0, 1], id="just above it"),
        pytest.param(math.inf, [0, 0, 1], id="infinite"),
        pytest.param(-math.inf, [1, 1, 1], id="infinite and negative"),
        pytest.param(math.nan, [0, 0, 0], id="not a number"),
    ],
)
def test_buckets(value: float, counts: list[float]) -> None:
    """A value counts in each bucket whose bound it does not exceed, and in the sum."""
    registry = CollectorRegistry()
    histogram = HistogramFamily("seconds", "", LABELS, buckets=(0.1, 1), registry=registry)
    histogram.labels("text", "m").observe(value)
    assert list(read(histogram)) == [(counts, counts[-1])]
    found = registry.get_sample_value("seconds_sum", {"modality": "text", "a_model": "m"})
    assert found == pytest.approx(value, abs=0, nan_ok=True)


@pytest.mark.parametrize("bounds", [(1, 0.5), (1, 1), (-1, 1), (1, math.inf)])
def test_bounds_ascend_from_zero(bounds: tuple[float, ...]) -> None:
    """Bounds that do not ascend, or are negative or infinite, are refused."""
    with pytest.raises(ValueError, match="seconds: the bounds"):
        HistogramFamily("seconds", "", ("a",), buckets=bounds, registry=CollectorRegistry())


@pytest.mark.parametrize("amount", [-1, -0.1, -math.inf])
def test_counters_do_not_decrease(amount: float) -> None:
    """A negative amount raises and changes nothing."""
    families = ours()
    child = families.counter.labels("text", "m")
    child.inc(2)
    with pytest.raises(ValueError, match="cannot decrease"):
        child.inc(amount)
    assert families.registry.get_sample_value("events_total", {"modality": "text", "a_model": "m"}) == 2


def test_pages_are_consistent_while_another_thread_counts() -> None:
    """Pages read while another thread counts and adds series are consistent, and no value is lost."""
    families = ours()
    seen: list[list[tuple[list[float], float]]] = []
    begun, ended = threading.Event(), threading.Event()

    def scrape() -> None:
        while not ended.is_set():
            list(families.counter.collect())
            seen.append(list(read(families.histogram)))
            begun.set()

    scraper = threading.Thread(target=scrape)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    scraper.start()
    try:
        begun.wait()
        for number in range(20_000):
            families.counter.labels("text", str(number // 20)).inc()
            families.histogram.labels("text", str(number // 20)).observe(number % 7 / 2)
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        scraper.join()

    seen.append(list(read(families.histogram)))
    assert all(buckets == sorted(buckets) and buckets[-1] == count for page in seen for buckets, count in page)
    totals = [sum(count for _, count in page) for page in seen]
    assert totals == sorted(totals)
    assert totals[-1] == 20_000
    assert [sample.value for metric in families.counter.collect() for sample in metric.samples] == [20] * 1000
