"""Media sources of the v2 dialect: exactly one of `url`, `base64_string` and `asset_id`."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Literal

from embedwire_sandbox.assets.asset_store import AssetStore
from embedwire_sandbox.bodies.json_members import Members
from embedwire_sandbox.errors import invalid, missing
from embedwire_sandbox.media.fetch import Fetcher
from embedwire_sandbox.media.upload import Upload

Kind = Literal["url", "base64_string", "asset_id"]
_KINDS: Final[tuple[Kind, ...]] = ("url", "base64_string", "asset_id")


@dataclass(frozen=True, slots=True)
class Source:
    """Source of one image or audio.

    Attributes:
        path: Path of its object in the request, for messages.
        kind: Which member has it.
        value: URL or asset id; the file of a base64 string.
    """

    path: str
    kind: Kind
    value: str | Upload

    @property
    def upload(self) -> Upload | None:
        """The file of a base64 string, else `None`."""
        return self.value if isinstance(self.value, Upload) else None

    @property
    def asset_id(self) -> str | None:
        """The id of the asset, if it is one."""
        return self.value if self.kind == "asset_id" and isinstance(self.value, str) else None


def read_source(members: Members) -> Source:
    """Read the source from an object, without the check for unknown members.

    Raises:
        RefusalError: There is none, more than one, or a value is invalid.
    """
    found = [(kind, value) for kind in _KINDS if (value := members.take(kind)) is not None]
    shown = ", ".join(members.path(kind) for kind in _KINDS)
    if not found:
        raise missing(f"media source ({shown})")
    if len(found) > 1:
        raise invalid(members.path(found[1][0]), f"Provide exactly one of {shown}.")
    kind, value = found[0]
    if not isinstance(value, Upload if kind == "base64_string" else str) or not value:
        raise invalid(members.path(kind), "It has to be a string that is not empty.")
    if isinstance(value, Upload) and not value.size:
        raise invalid(members.path(kind), "It is empty.")
    return Source(members.path(kind), kind, value)


class Sources:
    """Opens the files of media sources.

    Args:
        assets: The assets.
        fetcher: Fetches files by URL.
    """

    def __init__(self, assets: AssetStore, fetcher: Fetcher) -> None:
        self._assets = assets
        self._fetcher = fetcher

    def check(self, source: Source, owner: str) -> None:
        """Check that an asset can be used; other sources are not checked.

        Raises:
            RefusalError: 404: there is no such asset. 400: it is not ready, or has failed.
        """
        if source.asset_id:
            self._assets.open(owner, source.asset_id).file.close()

    async def open(self, source: Source, owner: str, stack: AsyncExitStack) -> Upload:
        """Return the file of a source.

        Args:
            source: The source.
            owner: API key of the call.
            stack: Closes the file, unless it belongs to the body.

        Raises:
            RefusalError: The URL cannot be fetched, or the asset does not exist or is not ready.
        """
        if isinstance(source.value, Upload):
            return source.value
        if source.kind == "asset_id":
            upload = self._assets.open(owner, source.value)
        else:
            upload = await self._fetcher.fetch(source.value, source.path)
        stack.callback(upload.file.close)
        return upload
