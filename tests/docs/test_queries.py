"""Prometheus queries of the pages use metrics and labels that exist."""

import re

import pytest

from embedwire_server.observability.metrics import Metrics
from tests.docs.blocks import Block, blocks
from tests.docs.owners import QUERIES, owned


def series() -> dict[str, set[str]]:
    """Return the labels of each series of the server."""
    registry = Metrics("sandbox").registry
    found = {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}
    for collector, names in registry._collector_to_names.items():
        for name in names:
            labels = set(getattr(collector, "_labelnames", ()))
            found[name] = found.get(name, set()) | labels | ({"le"} if name.endswith("_bucket") else set())
    return found


SERIES = series()
WORDS = {"by", "ignoring", "on", "without", "group_left", "group_right", "sum", "min", "max", "rate", "increase"}
WORDS |= {"histogram_quantile", "count", "avg", "topk", "vector", "or", "and", "unless"}


@pytest.mark.parametrize("block", owned(blocks(), QUERIES), ids=lambda block: block.place)
def test_a_query(block: Block) -> None:
    """Each name is a metric, a function or a label of the query's metrics; a selector uses the metric's own labels."""
    text = re.sub(r'"[^"]*"|\[\w+\]', "", block.text)
    names = re.findall(r"[a-z_]\w*", text)
    used = {name for name in names if name in SERIES}
    labels = set().union(*(SERIES[name] for name in used))

    assert used
    assert set(names) - used - WORDS <= labels
    for name, selector in re.findall(r"(\w+)\{(.*?)\}", text):
        assert set(re.findall(r"\w+", selector)) <= SERIES[name]
