"""The tasks of a sandbox."""

import asyncio
import time
from typing import Final

from embedwire_sandbox.errors import no_resource
from embedwire_sandbox.v2.task import Task

SOURCE_GONE: Final = "failed to fetch or materialize source media"


class TaskStore:
    """Tasks by id. Each belongs to the API key that created it, and does not exist for others.

    Args:
        outlives_asset: Whether a task succeeds if its asset is deleted before.
    """

    def __init__(self, *, outlives_asset: bool) -> None:
        self._outlives_asset = outlives_asset
        self._tasks: dict[str, Task] = {}

    async def close(self) -> None:
        """Cancel and forget all tasks."""
        work = [task.work for task in self._tasks.values()]
        for item in work:
            item.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        self._tasks.clear()

    @property
    def live(self) -> list[Task]:
        """Tasks of all keys that are not forgotten, oldest first."""
        self._forget()
        return list(self._tasks.values())

    def add(self, task: Task) -> None:
        """Add a task."""
        self._forget()
        self._tasks[task.id] = task

    def get(self, owner: str, task_id: str) -> Task:
        """Return a task.

        Raises:
            RefusalError: 404, nested: there is none of this id for this key, or not any more.
        """
        self._forget()
        task = self._tasks.get(task_id)
        if task is None or task.owner != owner:
            raise no_resource("task", nested=True)
        return task

    def of(self, owner: str) -> list[Task]:
        """Return the tasks of a key, newest first."""
        return [task for task in reversed(self.live) if task.owner == owner]

    def asset_deleted(self, asset_id: str) -> None:
        """Let the tasks fail that still process an asset."""
        for task in self._tasks.values():
            if task.asset_id == asset_id and task.status == "processing" and not self._outlives_asset:
                task.failure = task.failure or SOURCE_GONE

    def _forget(self) -> None:
        expired = [task for task in self._tasks.values() if time.monotonic() >= task.expires]
        for task in expired:
            task.work.cancel()
            del self._tasks[task.id]
