"""Buckets and other remote file systems as stores, by fsspec."""

import contextlib
import errno
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, ParamSpec, TypeVar

import fsspec
from fsspec.registry import known_implementations

from embedwire.batch.sources.files import Entry
from embedwire.inputs import RepeatableChunks

# A file of at most this size is read by one request; larger ones in blocks of this size.
BLOCK_BYTES = 1 << 20
_BUFFER_BYTES = 64 << 10

# Attributes that change with the content, in the order of preference; the names are those of the implementations.
_VERSIONS = (
    *("ETag", "etag", "md5Hash", "content_md5", "md5", "CRC"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)
_MISSING = (404, 410)
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*@|(?<=\?)\S*")

P = ParamSpec("P")
T = TypeVar("T")


class RemoteStore:
    """A file system of fsspec.

    Args:
        files: the file system.
    """

    def __init__(self, files: fsspec.AbstractFileSystem) -> None:
        self._files = files

    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield the entries of a folder, sorted by name. A folder's own entry is left out."""
        found = _translated(self._files.ls, folder, detail=True)
        entries = [_entry(each) for each in found if each["name"].strip("/") != folder.strip("/")]
        found.clear()  # it has all attributes of each file
        entries.sort(key=lambda entry: (entry.name, entry.kind))
        return iter(entries)

    def entry(self, path: str) -> Entry:
        """Return the attributes of a file or a folder."""
        return _entry(_translated(self._files.info, path))

    def join(self, folder: str, path: str) -> str:
        """Return a path relative to a folder."""
        return f"{folder}/{path}" if folder else path

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file for reading."""
        with _translated(self._files.open, path, "rb", block_size=BLOCK_BYTES) as file:
            yield io.BufferedReader(_RawFile(file), _BUFFER_BYTES)

    def read(self, path: str) -> bytes:
        """Return the content of a small file, by one request."""
        content: bytes = _translated(self._files.cat_file, path)
        return content

    def content(self, entry: Entry) -> dict[str, Any]:
        """Return the arguments of an `Image` or `Audio` with chunks of a file."""
        return {"chunks": RemoteChunks(self, entry), "file_name": entry.name}


class RemoteChunks(RepeatableChunks):
    """Content of a remote file. Each iteration reads it again.

    Args:
        store: where the file is.
        entry: the file.
    """

    def __init__(self, store: RemoteStore, entry: Entry) -> None:
        self.size = entry.size
        self._store = store
        self._path = entry.path

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content.

        Raises:
            OSError: the file cannot be read.
        """
        if self.size is not None and self.size <= BLOCK_BYTES:
            yield self._store.read(self._path)
            return
        with self._store.open(self._path) as file:
            while chunk := file.read(BLOCK_BYTES):
                yield chunk

    def opened(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open the file for reading; it can seek.

        Raises:
            OSError: the file cannot be read.
        """
        return self._store.open(self._path)


def connect(url: str) -> tuple[RemoteStore, str]:
    """Return the store of a URL, and the path in it.

    Raises:
        ImportError: the package for this kind of URL is not installed.
        ValueError: this kind of URL is unknown.
        OSError: the connection fails.
    """
    scheme = url.partition("://")[0].rpartition("::")[2]
    try:
        files, path = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        needed = f"pip install '{_package(error.name or scheme, scheme)}'"
        raise ImportError(f"{scheme}:// needs a package that is not installed: {needed}") from error
    except ValueError as error:
        if scheme in known_implementations:
            raise OSError(errno.EINVAL, _words(error)) from error
        raise ValueError(f"{scheme}:// is unknown; fsspec has for instance s3://, gs://, az:// and sftp://") from None
    except Exception as error:
        raise _as_os_error(error) from error
    return RemoteStore(files), path


class _RawFile(io.RawIOBase):
    """File of fsspec that raises OSError only, and has all methods of a file in a buffer around it."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - a buffer
        data = _translated(self._file.read, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return _translated(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _entry(info: Mapping[str, Any]) -> Entry:
    path, size = info["name"], info.get("size")
    name = path.rstrip("/").rpartition("/")[2]
    if info["type"] == "directory":
        return Entry(name, path, "folder", identity=path)
    if info["type"] != "file":
        return Entry(name, path, "other")
    mark = next((str(info[field]) for field in _VERSIONS if info.get(field)), "")
    return Entry(name, path, "file", size, f"{size}-{mark}")


def _translated(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function of fsspec.

    Raises:
        OSError: it fails; implementations raise exceptions of their libraries as well.
    """
    try:
        return work(*arguments, **named)
    except (IsADirectoryError, NotADirectoryError):
        raise
    except FileNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, Exception) and _is_outage(cause):
            raise _as_os_error(cause) from error
        words = without_credentials(str(error))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words) from error  # most have no number
    except Exception as error:
        raise _as_os_error(error) from error


def _is_outage(cause: Exception) -> bool:
    """Return whether the cause of a FileNotFoundError is another fault: that of a web server has any as its cause."""
    if isinstance(cause, OSError):
        return not isinstance(cause, FileNotFoundError)
    return getattr(cause, "status", _MISSING[0]) not in _MISSING


def _as_os_error(error: Exception) -> OSError:
    """Return the exception as one of the store: missing permissions concern all files of a bucket."""
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    return OSError(errno.EIO if number in {errno.EPERM, errno.EACCES} else number, _words(error))


def without_credentials(text: str) -> str:
    """Return a text without the user, password and query of URLs in it."""
    return _CREDENTIALS.sub("", text)


def _words(error: Exception) -> str:
    """Return the message of an exception, without credentials that a URL in it may have."""
    return f"{type(error).__name__}: {without_credentials(str(error))}"


def _package(module: str, scheme: str) -> str:
    """Return what to install for a URL scheme."""
    implementation = known_implementations.get(scheme, {}).get("class", module)
    package: str = implementation.partition(".")[0]
    return package if package != "fsspec" else f"fsspec[{scheme}]"
