"""One task of the v2 dialect."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from embedwire_sandbox.countdown import Countdown
from embedwire_sandbox.resources import now, written_time
from embedwire_sandbox.v2.audio_parameters import AudioParameters
from embedwire_sandbox.v2.parameters import Common
from embedwire_sandbox.v2.result import Embeddings

Status = Literal["processing", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """Reason why a task has failed: one of the upstream's messages."""

    message: str


@dataclass(slots=True, eq=False)
class Task:
    """One task.

    Attributes:
        id: Its id.
        owner: API key that created it.
        audio: What to compute.
        common: Model and dimension.
        created_at: When it was created.
        expires: End of its life on the monotonic clock.
        countdown: Its processing time.
        work: Computes the result, or the reason why there is none.
        failure: Message with which it fails whatever the result is, if it does.
        settled_at: When a poll found it ready or failed.
    """

    id: str
    owner: str = field(repr=False)
    audio: AudioParameters = field(repr=False)
    common: Common = field(repr=False)
    created_at: datetime
    expires: float
    countdown: Countdown = field(repr=False)
    work: "asyncio.Task[Embeddings | TaskFailure]" = field(repr=False)
    failure: str | None = None
    settled_at: datetime | None = None

    @property
    def asset_id(self) -> str | None:
        """Id of its asset, if its source is one."""
        return self.audio.source.asset_id

    @property
    def status(self) -> Status:
        """Its status."""
        if not self.countdown.has_ended or not self.work.done():
            return "processing"
        return "failed" if self.error else "ready"

    @property
    def error(self) -> str | None:
        """Reason why it has failed, or will fail; the work is done."""
        outcome = self.work.result()
        return self.failure or (outcome.message if isinstance(outcome, TaskFailure) else None)

    @property
    def embeddings(self) -> Embeddings | None:
        """Its result; `None` if it is not ready."""
        outcome = self.work.result() if self.status == "ready" else None
        return outcome if isinstance(outcome, Embeddings) else None

    async def poll(self, longest_wait_sec: float) -> Status:
        """Count a poll, and return the status that it finds.

        The first poll after the countdown waits for the work, so that the number of polls does not depend on the speed
        of the machine.
        """
        if not self.countdown.poll():
            return "processing"
        await asyncio.wait([self.work], timeout=longest_wait_sec)
        if self.status != "processing" and self.settled_at is None:
            self.settled_at = now()
        return self.status

    def head(self, status: Status) -> dict[str, Any]:
        """Return its members in a response, without those of the result."""
        document: dict[str, Any] = {
            "_id": self.id,
            "status": status,
            "created_at": written_time(self.created_at),
            "updated_at": written_time(self.settled_at or self.created_at),
        }
        if status != "ready":
            document["data"] = None
        if status == "failed":
            document["error"] = {"message": self.error}
        return document

    def summary(self) -> dict[str, Any]:
        """Return its object in a list."""
        audio = self.audio
        metadata: dict[str, Any] = {
            "audio_embedding_option": list(audio.options),
            "audio_embedding_scope": list(audio.scopes),
        }
        if embeddings := self.embeddings:
            found = dict(embeddings.metadata or {})
            metadata |= {name: found[name] for name in ("input_url", "input_filename", "duration") if name in found}
        return {
            "_id": self.id,
            "model_name": self.common.limits.model.name,
            "status": self.status,
            "created_at": written_time(self.created_at),
            "updated_at": written_time(self.settled_at or self.created_at),
            "audio_embedding": {"metadata": metadata},
        }
