"""Conversion of the file arguments of the SDK to inputs of the native client."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

FileContent = IO[bytes] | bytes | str | os.PathLike[str]
File = (
    FileContent
    | tuple[str | None, FileContent]
    | tuple[str | None, FileContent, str | None]
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)

_BYTES = (bytes, bytearray, memoryview)
_MAX_SHOWN = 100


def media_arguments(parameter: str, given: File) -> dict[str, Any]:
    """Return the arguments of `Image` or `Audio` for a file argument.

    Args:
        parameter: name of the parameter in error messages.
        given: a path (str or Path), a binary file, bytes, or one of the SDK's tuples (name, content[, media type[,
            headers]]).

    Raises:
        FileNotFoundError: a str or Path is not a file.
        TypeError: the argument has another form.
        ValueError: the tuple has headers, which cannot be sent.
    """
    name: str | None = None
    media_type: str | None = None
    content: Any = given
    if isinstance(given, tuple):
        if len(given) not in (2, 3, 4):
            raise TypeError(f"{parameter}: a tuple must be (name, content[, media type[, headers]])")
        name, content, media_type, headers = (*given, None, None)[:4]
        if headers:
            raise ValueError(f"{parameter}: headers of a file cannot be sent; leave them out of the tuple")
    # Drop parameters such as a charset, which HTTP uploads often have. The upstream inspects the content anyway.
    kind = (media_type or "").partition(";")[0].strip()
    return {**_source(parameter, content), "file_name": name or "", "media_type": kind}


def is_repeatable(arguments: Mapping[str, Any]) -> bool:
    """Return whether the content can be read again for another attempt. Rewinds a file."""
    file = arguments.get("file")
    return file is None or _rewind(file)


def rewind(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rewind a file to its beginning, where the SDK always starts, and return the arguments."""
    if (file := arguments.get("file")) is not None:
        _rewind(file)
    return arguments


def _source(parameter: str, content: Any) -> dict[str, Any]:  # noqa: ANN401 - any argument
    if isinstance(content, _BYTES):
        return {"data": content}
    if isinstance(content, str | os.PathLike):
        return {"path": _existing_path(parameter, content)}
    if isinstance(content, io.TextIOBase):
        raise TypeError(f"{parameter}: the file must be open in binary mode ('rb')")
    if hasattr(content, "read"):
        return {"file": content}
    raise TypeError(
        f"{parameter}: must be a path, bytes, a binary file or a tuple of them, got {type(content).__name__}"
    )


def _existing_path(parameter: str, path: str | os.PathLike[str]) -> Path:
    shown = os.fspath(path)[:_MAX_SHOWN]
    try:
        is_there = Path(path).exists() and not Path(path).is_dir()
    except (OSError, ValueError):  # too long, or with a NUL: probably content, not a path
        is_there = False
    if not is_there:
        raise FileNotFoundError(f"{parameter}: there is no file {shown!r}; give a path, bytes or a binary file")
    return Path(path)


def _rewind(file: Any) -> bool:  # noqa: ANN401 - any file
    """Rewind the file; return whether it is seekable."""
    try:
        file.seek(0)
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return False
    return True
