"""One asset: a file that a caller has uploaded."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from embedwire_sandbox.countdown import Countdown
from embedwire_sandbox.media.inspection import Inspection
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.resources import written_time

Status = Literal["processing", "ready", "failed"]
Method = Literal["direct", "url", "multipart"]


@dataclass(slots=True, eq=False)
class Asset:
    """One asset.

    Attributes:
        id: Its id.
        owner: API key that created it.
        method: How it was uploaded.
        filename: Its name.
        created_at: When it was created.
        countdown: Its processing time.
        content: Its file, opened by path for each use; `None` until it was fetched.
        inspection: What the file is; `None` until it was inspected.
        failure: Message with which it fails, if it does.
        enable_hls: Whether the caller wants a playlist, which is never made.
        user_metadata: Metadata of the caller, as they were sent.
        fetching: Fetches or inspects the file, if that is not done at the creation.
    """

    id: str
    owner: str = field(repr=False)
    method: Method
    filename: str = field(repr=False)
    created_at: datetime
    countdown: Countdown = field(repr=False)
    content: Upload | None = field(default=None, repr=False)
    inspection: Inspection | None = field(default=None, repr=False)
    failure: str | None = None
    enable_hls: bool = True
    user_metadata: Any = field(default=None, repr=False)
    fetching: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def status(self) -> Status:
        """Its status."""
        if not self.countdown.has_ended or (self.fetching and not self.fetching.done()):
            return "processing"
        return "failed" if self.error else "ready"

    @property
    def error(self) -> str | None:
        """Reason why it fails once it is processed."""
        return self.failure or (self.inspection.error if self.inspection else None)

    def to_json(self, *, created: bool = False) -> dict[str, Any]:
        """Return its object in a response.

        Args:
            created: Whether this is the response to its creation, which always says `processing`.
        """
        status = "processing" if created else self.status
        document: dict[str, Any] = {
            "_id": self.id,
            "method": self.method,
            "status": status,
            "filename": self.filename,
            "file_type": self.inspection.file_type if self.inspection else "application/octet-stream",
            "created_at": written_time(self.created_at),
        }
        if self.user_metadata is not None:
            document["user_metadata"] = self.user_metadata
        if status == "failed":
            document["error"] = {"message": self.error}
        if status == "ready" and self.content and self.inspection:
            document |= {"size": self.content.size, "technical_metadata": self.inspection.technical}
            if self.inspection.duration_sec is not None:
                document["duration"] = self.inspection.duration_sec
                if self.enable_hls:
                    document["hls"] = {"status": "pending"}
        return document
