"""Files and URLs that a list or a table names."""

from collections.abc import Mapping
from typing import Any

from embedwire.batch.records import Modality, Record
from embedwire.batch.sources import building, files, remote
from embedwire.batch.sources.building import Fault
from embedwire.batch.sources.files import Store
from embedwire.batch.sources.local import LocalStore

_LOCAL_URLS = ("file://", "local://")


def locate(location: str) -> tuple[Store, str]:
    """Return the store of a path or URL, and the path in it.

    Raises:
        ImportError: the package for this kind of URL is not installed.
        ValueError: this kind of URL is unknown.
        OSError: the connection fails.
    """
    _, separator, path = location.partition("://")
    if not separator:
        return LocalStore(), location
    return (LocalStore(), path) if location.startswith(_LOCAL_URLS) else remote.connect(location)


class References:
    """Paths and URLs, relative to the folder of the list or table that has them.

    Args:
        store: where the list is.
        folder: path of its folder.
        checksum: whether versions of files are hashes of the content.
    """

    def __init__(self, store: Store, folder: str, *, checksum: bool) -> None:
        self._store = store
        self._folder = folder
        self._is_local = isinstance(store, LocalStore)
        self._checksum = checksum

    def record(self, key: str, modality: Modality, name: str, arguments: Mapping[str, Any]) -> Record:
        """Return the record of a file or URL.

        Args:
            key: its key.
            modality: its modality.
            name: relative or absolute path, or URL.
            arguments: further arguments of the input.

        Raises:
            Fault: it is no file that can be sent.
            OSError: the store cannot be read.
        """
        if files.is_url(name):
            return building.of_url(key, modality, name, arguments)
        store, path = self._locate(modality, name)
        try:
            entry = store.entry(path)
        except ValueError:  # a path with NUL
            raise Fault(f"{modality}: must be a path or a URL") from None
        except OSError as error:
            raise building.unreadable(modality, error) from None
        return building.of_file(key, modality, (store, entry), arguments, checksum=self._checksum)

    def is_remote(self, name: object) -> bool:
        """Return whether a remote store is asked for a path or URL."""
        if not isinstance(name, str) or files.is_url(name):
            return False
        return not name.startswith(_LOCAL_URLS) if "://" in name else not self._is_local

    def _locate(self, modality: Modality, name: str) -> tuple[Store, str]:
        is_url = "://" in name
        if not self._is_local and (name.startswith(("/", *_LOCAL_URLS)) or ".." in name.split("/")):
            raise Fault(f'{modality}: a list in a bucket can name URLs, and relative paths without ".."')
        if not is_url:
            return self._store, self._store.join(self._folder, name)
        try:
            return locate(name)
        except ValueError:
            raise Fault(f"{modality}: fsspec does not know this kind of URL") from None
        except ImportError as error:
            raise OSError(str(error)) from error
