"""Windows of audio in the v2 dialect."""

from collections.abc import Iterator
from itertools import cycle
from math import ceil
from typing import Final

from embedwire_sandbox.media.audio import Window
from embedwire_sandbox.v2.audio_parameters import Segmentation

_DIGITS: Final = 6  # times are written to the microsecond
_FACTORS: Final = (1.0, 1.75, 1.25, 2.5)  # lengths of dynamic windows, in shortest lengths; they ignore the content


def windows(segmentation: Segmentation, start: float, end: float) -> Iterator[Window]:
    """Divide a section into windows; the last one of `fixed` may be shorter, the last one of `dynamic` longer."""
    if segmentation.strategy == "fixed":
        count = max(1, ceil(round((end - start) / segmentation.seconds, _DIGITS)))
        edges = [start + segmentation.seconds * index for index in range(count)]
    else:
        edges = [start]
        for factor in cycle(_FACTORS):
            following = edges[-1] + segmentation.seconds * factor
            if following + segmentation.seconds > end:
                break
            edges.append(following)
    for left, right in zip(edges, [*edges[1:], end], strict=True):
        yield Window(round(left, _DIGITS), round(right, _DIGITS))
