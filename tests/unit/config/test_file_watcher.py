"""The watcher of the configuration file."""

import os
import threading
from pathlib import Path

import pytest

from embedwire_server.config.file_watcher import FileWatcher


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    path = tmp_path / "embedwire.toml"
    path.write_text("a", "utf-8")
    return path


def test_no_change_is_not_reported(path: Path) -> None:
    """Neither a file that stays nor one that is only read is reported."""
    watcher = FileWatcher(path)
    path.read_text("utf-8")
    assert [watcher.poll() for _ in range(3)] == [False] * 3


def test_a_change_is_reported_once_it_has_settled(path: Path) -> None:
    """A file that differs from poll to poll is not reported; once it stays, it is, one time."""
    watcher = FileWatcher(path)
    found = []
    for text in ("ab", "abc", "abcd"):
        path.write_text(text, "utf-8")
        found.append(watcher.poll())
    assert found == [False] * 3
    assert [watcher.poll() for _ in range(3)] == [True, False, False]


def test_a_new_time_is_a_change(path: Path) -> None:
    """The size may be the same."""
    watcher = FileWatcher(path)
    os.utime(path, ns=(1, 1))
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_a_file_that_was_changed_back_in_between_is_not_reported(path: Path) -> None:
    """What counts is the state that was reported last."""
    watcher = FileWatcher(path)
    found = path.stat()
    os.utime(path, ns=(1, 1))
    assert not watcher.poll()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert [watcher.poll() for _ in range(3)] == [False] * 3


def test_a_missing_file_and_its_return_are_changes(path: Path) -> None:
    """A file that is missing in one poll only is not reported as missing."""
    watcher = FileWatcher(path)
    path.unlink()
    assert not watcher.poll()
    path.write_text("b", "utf-8")
    assert [watcher.poll() for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """Kubernetes swaps a link in the middle of the path, to files that may have the same size and time."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "embedwire.toml").write_text(name, "utf-8")
        os.utime(tmp_path / name / "embedwire.toml", ns=(1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "embedwire.toml").symlink_to("..data/embedwire.toml")
    watcher = FileWatcher(tmp_path / "embedwire.toml")
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_a_change_is_reported_in_a_thread(path: Path) -> None:
    """The callback is called while the context is entered, and the thread ends after it."""
    changed = threading.Event()
    before = set(threading.enumerate())
    with FileWatcher(path, interval=0.001).watching(changed.set):
        path.write_text("ab", "utf-8")
        assert changed.wait(20)
        (thread,) = set(threading.enumerate()) - before
    thread.join(20)
    assert not thread.is_alive()
