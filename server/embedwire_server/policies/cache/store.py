"""Interface of a store of results."""

from typing import Protocol

from embedwire_server.config.settings import Settings
from embedwire_server.policies.cache.entry import Entry


class ResultStore(Protocol):
    """Results by key, limited in size and age. It may forget any of them at any time."""

    async def get(self, key: bytes) -> Entry | None:
        """Return a result; None if there is none, or it cannot be read within 50 ms. Does not raise."""
        ...

    def put(self, key: bytes, entry: Entry) -> None:
        """Store a result, possibly in the background. Does not wait and does not raise."""
        ...

    def reconfigure(self, settings: Settings) -> None:
        """Apply the limits of these settings, as far as this store has them."""
        ...
