"""Files of a source: the types that are read, and the interface of the places where they are."""

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from embedwire.batch.records import Modality

TYPES: dict[str, Modality] = {
    ".txt": "text",
    ".jpeg": "image",
    ".jpg": "image",
    ".png": "image",
    ".flac": "audio",
    ".mp3": "audio",
    ".wav": "audio",
}
# Entries of `ignored` that have no suffix.
NO_SUFFIX = "(no suffix)"
NO_FILE = "(no regular file)"
LINKED_AGAIN = "(link to a folder that was read)"

_FAULTS_OF_FILES = {errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}


class Entry(NamedTuple):
    """Entry of a folder.

    Attributes:
        name: its name in the folder.
        path: its path in the store.
        kind: what it is.
        size: size of a file in bytes; None if it is unknown.
        version: identifies the content of a file.
        identity: identifies a folder, whichever link leads to it.
        error: exception if its attributes cannot be read; then the kind is "other".
    """

    name: str
    path: str
    kind: Literal["file", "folder", "other"]
    size: int | None = 0
    version: str = ""
    identity: object = None
    error: OSError | None = None


class Store(Protocol):
    """A place of files: the local file system or a bucket. Its methods may block, and are called by several threads."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield the entries of a folder, sorted by name.

        Raises:
            OSError: the folder cannot be read.
        """

    def entry(self, path: str) -> Entry:
        """Return the attributes of a file or a folder.

        Raises:
            OSError: there is none, or it cannot be read.
        """

    def join(self, folder: str, path: str) -> str:
        """Return a path relative to a folder as a path in this store."""

    def open(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open a file for reading; the file can seek.

        Raises:
            OSError: it cannot be read.
        """

    def content(self, entry: Entry) -> dict[str, Any]:
        """Return the arguments of an `Image` or `Audio` with the content of a file, which is opened when it is sent."""


def modality(name: str) -> Modality | None:
    """Return the modality of a file of this name; None if the type is not supported."""
    return TYPES.get(PurePosixPath(name).suffix.lower())


def url_modality(url: str) -> Modality | None:
    """Return the modality of the file of an http or https URL; None if the type is not supported, or it is invalid."""
    try:
        return modality(urlsplit(url).path)
    except ValueError:
        return None


def is_url(name: str) -> bool:
    """Return whether this is an http or https URL, which the upstream fetches."""
    return name.lower().startswith(("http://", "https://"))


def is_fault_of_file(error: OSError) -> bool:
    """Return whether an exception concerns one file only: others may be read."""
    kinds = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
    return isinstance(error, kinds) or error.errno in _FAULTS_OF_FILES


def walk(store: Store, folder: str, ignored: Counter[str], prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield the files below a folder in the order of their names, without hidden ones.

    Each folder is read once, even if several links lead to it. One folder is in memory at a time, with those above it.

    Args:
        store: where the folder is.
        folder: path of the folder.
        ignored: counts what is neither a file nor a folder.
        prefix: beginning of the relative paths.

    Yields:
        Path relative to the folder, and the file. It has kind "other" and an error if it cannot be read.

    Raises:
        OSError: a folder cannot be read.
    """
    yield from _walk(store, folder, ignored, prefix, {store.entry(folder).identity})


def _walk(
    store: Store, folder: str, ignored: Counter[str], prefix: str, seen: set[object]
) -> Iterator[tuple[str, Entry]]:
    for entry in store.entries(folder):
        if entry.name.startswith("."):
            continue
        path = prefix + entry.name
        if entry.kind == "folder":
            if entry.identity in seen:
                ignored[LINKED_AGAIN] += 1
                continue
            seen.add(entry.identity)
            yield from _walk(store, entry.path, ignored, f"{path}/", seen)
        elif entry.kind == "file" or entry.error is not None:
            yield path, entry
        else:
            ignored[NO_FILE] += 1


def suffix(name: str) -> str:
    """Return the suffix of a file name in lower case, as it is counted in `ignored`."""
    return PurePosixPath(name).suffix.lower() or NO_SUFFIX


def reason(error: OSError) -> str:
    """Return why a file cannot be read, without its path."""
    return os.strerror(error.errno) if isinstance(error.errno, int) else type(error).__name__
