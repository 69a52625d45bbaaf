"""Inspects uploaded files in threads."""

from embedwire_sandbox.media.background import Threads
from embedwire_sandbox.media.inspection import Inspection, inspect
from embedwire_sandbox.media.upload import Upload


class Inspector:
    """Inspects uploaded files.

    Args:
        threads: Runs the inspections.
        max_samples: Limit of decoded samples of audio without a length.
    """

    def __init__(self, threads: Threads, max_samples: int) -> None:
        self._threads = threads
        self._max_samples = max_samples

    async def inspect(self, upload: Upload) -> Inspection:
        """Return what a file is."""
        return await self._threads.run(lambda: inspect(upload, self._max_samples))
