"""The tasks that this process has created for each token, so that a client can get the results of its own."""

from collections import OrderedDict

MAX_TASKS_OF_A_TOKEN = 10_000


class OwnTasks:
    """Identifiers of the last tasks of each token. Nothing is stored: other processes do not know them."""

    def __init__(self, most: int = MAX_TASKS_OF_A_TOKEN) -> None:
        self._most = most
        self._tasks: dict[str, OrderedDict[str, None]] = {}

    def add(self, name: str, task_id: str) -> None:
        """Add a task of the token of this name; the oldest one is forgotten beyond the limit."""
        tasks = self._tasks.setdefault(name, OrderedDict())
        tasks[task_id] = None
        tasks.move_to_end(task_id)
        if len(tasks) > self._most:
            tasks.popitem(last=False)

    def has(self, name: str, task_id: str) -> bool:
        """Return whether this process has created the task for the token of this name."""
        return task_id in self._tasks.get(name, ())
