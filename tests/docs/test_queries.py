"""Prometheus queries of the pages use metrics, labels and label values that exist."""

import pytest

from deploy.monitoring.definitions import faults
from deploy.monitoring.recording_rules import LABELS
from tests.docs.blocks import Block, blocks
from tests.docs.owners import QUERIES, owned


@pytest.mark.parametrize("block", owned(blocks(), QUERIES), ids=lambda block: block.place)
def test_a_query(block: Block) -> None:
    """Each name is a metric or a recording rule, each label is one of its labels, and each value can occur."""
    assert faults(block.text, LABELS) == []
