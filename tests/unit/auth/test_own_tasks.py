"""The tasks that were created for each token."""

from embedwire_server.auth.own_tasks import OwnTasks


def test_each_token_has_its_own_tasks() -> None:
    """A task is known for the token that it was created for only."""
    tasks = OwnTasks()
    tasks.add("search", "one")
    assert (tasks.has("search", "one"), tasks.has("search", "two"), tasks.has("indexer", "one")) == (True, False, False)


def test_the_oldest_is_forgotten() -> None:
    """The number of tasks of a token is bounded; another token has a limit of its own."""
    tasks = OwnTasks(2)
    for task_id in ("one", "two", "one", "three"):
        tasks.add("search", task_id)
    tasks.add("indexer", "two")
    known = [task_id for task_id in ("one", "two", "three") if tasks.has("search", task_id)]
    assert known == ["one", "three"]
    assert tasks.has("indexer", "two")
