"""Garbage collector settings for a process that serves calls."""

import gc

_GARBAGE_OBJECTS = 5_000  # new ones before a collection; reference counting frees nearly all


def raise_gc_threshold() -> None:
    """Run the collector less often: loading modules creates almost no garbage."""
    gc.set_threshold(_GARBAGE_OBJECTS, *gc.get_threshold()[1:])


def freeze_heap() -> None:
    """Exclude live objects from garbage collection: they stay, and each collection paused all calls for 30 ms."""
    gc.freeze()
