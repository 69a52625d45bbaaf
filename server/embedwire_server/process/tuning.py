"""Settings of Python's garbage collector for a process that serves calls."""

import gc

_GARBAGE_OBJECTS = 5_000  # new ones until the collector looks through them; nearly all go without it


def raise_gc_threshold() -> None:
    """Run the collector less often: next to nothing is garbage while modules are loaded."""
    gc.set_threshold(_GARBAGE_OBJECTS, *gc.get_threshold()[1:])


def freeze_heap() -> None:
    """Exclude what is alive now from garbage collection: it stays, and each collection stopped all calls for 30 ms."""
    gc.freeze()
