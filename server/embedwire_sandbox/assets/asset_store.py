"""The assets of a sandbox, with their files on disk."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Final

from embedwire_sandbox.assets.asset import Asset
from embedwire_sandbox.errors import RefusalError, no_resource
from embedwire_sandbox.media.upload import Upload


class AssetStore:
    """Assets by id. Each belongs to the API key that created it, and does not exist for others.

    Attributes:
        on_delete: Called with the id of each asset that is deleted.
    """

    def __init__(self) -> None:
        self.on_delete: Callable[[str], None] = lambda _: None
        self._assets: Final[dict[str, Asset]] = {}
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    async def close(self) -> None:
        """Delete all assets and their files."""
        fetches = [asset.fetching for asset in self._assets.values() if asset.fetching]
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        for asset in self._assets.values():
            _close(asset)
        self._assets.clear()
        if self._directory:
            self._directory.cleanup()
            self._directory = None

    @property
    def live(self) -> list[Asset]:
        """All assets of all keys, oldest first."""
        return list(self._assets.values())

    def file(self) -> IO[bytes]:
        """Return an empty file, which is deleted when it is closed."""
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="embedwire-sandbox-")
        return tempfile.NamedTemporaryFile(dir=self._directory.name)

    def add(self, asset: Asset) -> None:
        """Add an asset; its file belongs to the store from now on."""
        self._assets[asset.id] = asset

    def get(self, owner: str, asset_id: str) -> Asset:
        """Return an asset.

        Raises:
            RefusalError: 404: there is none of this id for this key.
        """
        asset = self._assets.get(asset_id)
        if asset is None or asset.owner != owner:
            raise no_resource("asset")
        return asset

    def of(self, owner: str) -> Iterable[Asset]:
        """Return the assets of a key, newest first."""
        return [asset for asset in reversed(self._assets.values()) if asset.owner == owner]

    def delete(self, owner: str, asset_id: str) -> None:
        """Delete an asset and its file. Calls that use it already are not disturbed.

        Raises:
            RefusalError: 404: there is none of this id for this key.
        """
        asset = self.get(owner, asset_id)
        del self._assets[asset_id]
        if asset.fetching:
            asset.fetching.cancel()
        _close(asset)
        self.on_delete(asset_id)

    def open(self, owner: str, asset_id: str) -> Upload:
        """Open the file of an asset that is ready; the caller closes it.

        Raises:
            RefusalError: 404: there is none of this id for this key. 400: it is not ready, or has failed.
        """
        asset = self.get(owner, asset_id)
        if asset.status != "ready" or asset.content is None:
            raise RefusalError(400, "asset_not_ready", f"The asset is not ready to use. Its status is {asset.status}.")
        path = Path(asset.content.file.name)
        return Upload(path.open("rb"), asset.content.size, filename=asset.filename)


def _close(asset: Asset) -> None:
    if asset.content:
        asset.content.file.close()
