"""The watcher of the configuration file."""

import os
import threading
from pathlib import Path

import pytest

from embedwire_server.config.file_watcher import FileWatcher


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file."""
    path = tmp_path / "embedwire.toml"
    path.write_text("a", "utf-8")
    return path


def test_no_change_is_not_reported(path: Path) -> None:
    """A file that does not change, or is only read, is not reported."""
    watcher = FileWatcher(path)
    path.read_text("utf-8")
    assert [watcher.poll() for _ in range(3)] == [False] * 3


def test_a_change_is_reported_once_it_has_settled(path: Path) -> None:
    """A change is reported once, at the first poll that finds the same state as the poll before."""
    watcher = FileWatcher(path)
    found = []
    for text in ("ab", "abc", "abcd"):
        path.write_text(text, "utf-8")
        found.append(watcher.poll())
    assert found == [False] * 3
    assert [watcher.poll() for _ in range(3)] == [True, False, False]


def test_modification_time_alone_is_a_change(path: Path) -> None:
    """A new modification time is a change, also with the same size."""
    watcher = FileWatcher(path)
    os.utime(path, ns=(1, 1))
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_a_missing_file_and_its_return_are_changes(path: Path) -> None:
    """A missing file and its return are reported, but not a file that is missing in one poll only."""
    watcher = FileWatcher(path)
    path.unlink()
    assert not watcher.poll()
    path.write_text("b", "utf-8")
    assert [watcher.poll() for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_a_change_of_permissions_is_a_change(path: Path) -> None:
    """A file that could not be read is read again when its permissions change."""
    watcher = FileWatcher(path)
    path.chmod(0o600)
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_new_content_of_the_same_size_and_time_is_a_change(path: Path) -> None:
    """Copies in place may keep the size and the time of modification."""
    watcher, found = FileWatcher(path), path.stat()
    path.write_text("b", "utf-8")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert [watcher.poll() for _ in range(3)] == [False, True, False]


def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """A swapped symbolic link in the path is a change, as in Kubernetes, also with the same size and time."""
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
    """The callback is called while the context is entered, and the thread ends when it is left."""
    changed = threading.Event()
    before = set(threading.enumerate())
    with FileWatcher(path, interval=0.001).watching(changed.set):
        path.write_text("ab", "utf-8")
        assert changed.wait(20)
        (thread,) = set(threading.enumerate()) - before
    thread.join(20)
    assert not thread.is_alive()
