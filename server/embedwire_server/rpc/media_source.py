"""Decoding and validation of the sources of media: URLs, files, uploads, assets and tasks."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.inputs import UPSTREAM_ID, AssetSource, FileSource, Source, TaskSource, UrlSource
from embedwire_server.core.models import Model
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.media.spool import SpooledUpload, UploadDeclaration

FILE_NAME_BYTES = 255
SHA256_BYTES = 32
# Not guessed from the name or the bytes: the upstream detects the type itself.
UNKNOWN_MEDIA_TYPE = "application/octet-stream"
UNNAMED_FILE = "upload"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f-\xa0]")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")

Fault = Callable[[str, str], None]
Declare = Callable[[int, UploadDeclaration], SpooledUpload]


class SizeLimit(NamedTuple):
    """Limit on the size of a file in bytes, and what to do with a larger one."""

    size: int
    remedy: str

    @classmethod
    def of(cls, of_model: int | None, of_server: int, setting: str, highest: int | None = None) -> "SizeLimit":
        """Return the lower of the limits of a model and of a setting of the server, which is at most `highest`."""
        if of_model is not None and of_model <= of_server:
            return cls(of_model, "the model does not accept a larger one")
        if of_server == highest:
            return cls(of_server, "use url or asset for a larger one")
        return cls(of_server, f"use url or asset for a larger one, or let the operator raise {setting}")


class SourceReader:
    """Decodes the sources of one request.

    Args:
        fault: called with the path of each invalid field, and how to correct it.
        url_chars: the longest URL.
        declare: called with each upload, by the index of its input; None if the call accepts none.
        prefix: path of the request in the message of the call, with a dot at its end, or empty.

    Attributes:
        content_bytes: size of the files inside the request so far.
    """

    def __init__(self, fault: Fault, url_chars: int, declare: Declare | None, prefix: str) -> None:
        self.content_bytes = 0
        self._fault = fault
        self._url_chars = url_chars
        self._declare = declare
        self._prefix = prefix

    def read(
        self, source: pb.MediaSource, index: int, path: str, limit: SizeLimit, model: Model | None
    ) -> Source | None:
        """Decode a source; None if it is none that the call accepts.

        Args:
            source: the message.
            index: index of the input.
            path: path of the source in the request.
            limit: limit on the size of the file.
            model: the model; None if the request names none that exists.
        """
        kind = source.WhichOneof("source")
        if kind == "asset":
            return AssetSource(self._upstream_id(source.asset.id, f"{path}.asset", model))
        if kind == "task":
            return TaskSource(self._upstream_id(source.task.id, f"{path}.task", model))
        if kind == "url":
            self._check_url(source.url, f"{path}.url")
            return UrlSource(source.url)
        if kind == "file":
            file = source.file
            self.content_bytes += len(file.data)
            if not file.data:
                self._fault(f"{path}.file.data", "must not be empty")
            if len(file.data) > limit.size:
                text = f"at most {limit.size} bytes are allowed, got {len(file.data)}; {limit.remedy}"
                self._fault(f"{path}.file.data", text)
            return self._file(InMemoryContent(file.data), file, f"{path}.file")
        if kind == "upload" and self._declare is not None:
            declaration = self._declaration(source.upload, f"{path}.upload", limit)
            return self._file(self._declare(index, declaration), source.upload, f"{path}.upload")
        if kind == "upload":
            self._fault(f"{path}.upload", "only CreateEmbeddingFromUpload accepts uploads; use url or file here")
        else:
            self._fault(path, "must have exactly one of url, file, upload, asset, task")
        return None

    def _upstream_id(self, value: str, path: str, model: Model | None) -> str:
        """Check the identifier of an asset or a task, and that the model can be used with it."""
        if not UPSTREAM_ID.fullmatch(value):
            self._fault(f"{path}.id", "must have 1 to 128 letters, digits, '-' and '_'")
        if model is not None and not model.has_v2:
            self._fault(path, f"model {model.name} does not support it{model.because}; use url, file or upload")
        return value

    def _declaration(self, upload: pb.UploadSource, path: str, limit: SizeLimit) -> UploadDeclaration:
        size = upload.size_bytes if upload.HasField("size_bytes") else None
        sha256 = upload.sha256 if upload.HasField("sha256") else None
        if size is not None and not 0 < size <= limit.size:
            self._fault(f"{path}.size_bytes", f"must be 1 to {limit.size}, got {size}; {limit.remedy}")
        if sha256 is not None and len(sha256) != SHA256_BYTES:
            self._fault(
                f"{path}.sha256", f"must have {SHA256_BYTES} bytes, got {len(sha256)}; leave it unset if unknown"
            )
        return UploadDeclaration(self._prefix + path, limit.size, size, sha256, limit.remedy)

    def _file(
        self, content: InMemoryContent | SpooledUpload, file: pb.FileSource | pb.UploadSource, path: str
    ) -> FileSource:
        if _CONTROL.search(file.file_name) or len(file.file_name.encode()) > FILE_NAME_BYTES:
            self._fault(f"{path}.file_name", f"must have at most {FILE_NAME_BYTES} bytes and no control characters")
        if file.media_type and not _MEDIA_TYPE.fullmatch(file.media_type):
            self._fault(
                f"{path}.media_type",
                "must be a media type such as audio/mpeg, without parameters; leave it empty if unknown",
            )
        return FileSource(content, file.file_name or UNNAMED_FILE, file.media_type or UNKNOWN_MEDIA_TYPE)

    def _check_url(self, url: str, path: str) -> None:
        limit = self._url_chars
        if len(url) > limit:
            self._fault(path, f"at most {limit} characters are allowed, got {len(url)}")
        elif _NOT_IN_URLS.search(url):
            self._fault(path, "must not hold control characters or spaces; percent-encode them")
        elif not url.lower().startswith(("http://", "https://")):
            self._fault(path, "must start with http:// or https://; send a local file as file or upload")
        else:
            self._check_authority(url, path)

    def _check_authority(self, url: str, path: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            self._fault(path, "is not a valid URL")
            return
        if not host:
            self._fault(path, "has no host")
        elif "@" in parts.netloc:
            self._fault(path, "must not hold user info (the part before @)")
