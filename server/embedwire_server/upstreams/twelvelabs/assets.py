"""Assets: files that the upstream keeps until they are deleted. Facts: upstream API notes, section 13.

An asset is created at most once for each input: a request whose response was lost is not repeated, since nothing shows
whether it was executed. What a lost response leaves behind is deleted by the cleanup job, by the name of its file.
"""

import datetime as dt
import os
import re
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.core.inputs import FileSource
from embedwire_server.core.results import Stage
from embedwire_server.upstreams.base import EmbedCall, Job
from embedwire_server.upstreams.http.client import ANSWERED, HttpClient, read_json
from embedwire_server.upstreams.http.exchange import Request
from embedwire_server.upstreams.http.multipart import Field, File, MultipartBody
from embedwire_server.upstreams.http.response_body import unusable
from embedwire_server.upstreams.http.sanitize import sanitize_text
from embedwire_server.upstreams.twelvelabs.chunked_upload import ChunkedUpload
from embedwire_server.upstreams.twelvelabs.errors import Subject
from embedwire_server.upstreams.twelvelabs.identifiers import identifier, json_object
from embedwire_server.upstreams.twelvelabs.polling import Poll, answered
from embedwire_server.upstreams.twelvelabs.route import Upload
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect

PATH = "/assets"
PAGE_SIZE = 50  # the most that the upstream returns
MAX_PAGES = 1000  # of the list of assets: an upstream whose list has no end is not read forever
DELETED = ANSWERED | {204}

_RANDOM_BYTES = 12
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


class Asset(NamedTuple):
    """Asset as the upstream reports it; `created` is in seconds since the epoch."""

    id: str
    status: str
    file_name: str
    created: float
    message: str


class AssetStore:
    """Creates, lists and deletes assets.

    Args:
        client: sends the requests.
        dialect: builds them.
        deployment: name of this deployment, which is a part of the names of its files.

    Attributes:
        in_use: identifiers of the assets that inputs of this process use.
    """

    def __init__(self, client: HttpClient, dialect: V2Dialect, deployment: str) -> None:
        self._client = client
        self._dialect = dialect
        self._prefix = f"embedwire-{deployment}-"
        # All of the name: that of another deployment may begin with the prefix of this one.
        self._name = re.compile(rf"{re.escape(self._prefix)}[0-9a-f]{{{2 * _RANDOM_BYTES}}}(?:{_EXTENSION.pattern})?")
        self.in_use: set[str] = set()
        self._chunks = ChunkedUpload(client, dialect)

    async def provide(self, call: EmbedCall, source: FileSource, job: Job, upload: Upload, size: int) -> None:
        """Make the file of an input available as an asset: create it, unless an earlier attempt has, and wait for it.

        Raises:
            GatewayError: it cannot be created, or the upstream cannot use the file.
        """
        side = call.side_call()
        try:
            if not job.asset_id:
                await call.enter(Stage.UPLOADING)
                name = job.asset_name = self._prefix + os.urandom(_RANDOM_BYTES).hex() + _extension(source.file_name)
                if upload is Upload.DIRECT:
                    job.asset_id = await self._create(side, source, name, size)
                else:
                    job.asset_id = await self._chunks.create(side, source.content, name, size)
                self.in_use.add(job.asset_id)
            await self._wait(call, side, job.asset_id)
        finally:
            call.add_times(side)

    async def get(self, call: EmbedCall, asset_id: str) -> Asset:
        """Return one asset.

        Raises:
            GatewayError: there is none, or the request failed.
        """
        request = self._dialect.request(call, b"GET", f"{PATH}/{asset_id}", f"{PATH}/{{id}}")
        return _asset(await self._json(call, request), self._dialect.key(call))

    async def delete(self, call: EmbedCall, asset_id: str) -> bool:
        """Delete an asset; one that does not exist counts as deleted. Returns True.

        Raises:
            GatewayError: the request failed.
        """
        request = self._dialect.request(call, b"DELETE", f"{PATH}/{asset_id}", f"{PATH}/{{id}}")
        try:
            sending = self._client.send(call, request, self._dialect.error_of(Subject.ASSET), DELETED)
            body = await answered(sending)
        except UpstreamFailure as failure:
            if failure.upstream is None or failure.upstream.http_status not in {404, 410}:
                raise
        else:
            await body.close()
        return True

    async def list(self, call: EmbedCall) -> AsyncGenerator[Asset]:
        """Yield the assets of this deployment, of all its servers; of very many, the first `MAX_PAGES` pages.

        Raises:
            GatewayError: the request failed.
        """
        for page in range(1, MAX_PAGES + 1):
            query = f"?filename={self._prefix}&page={page}&page_limit={PAGE_SIZE}"
            found = await self._json(call, self._dialect.request(call, b"GET", PATH + query, PATH))
            items = found.get("data") or []
            if not isinstance(items, list):
                raise unusable("its list of assets is not a list")
            for item in items:
                asset = _asset(item, self._dialect.key(call))
                if self._name.fullmatch(asset.file_name):  # the upstream finds the prefix anywhere in a name
                    yield asset
            if len(items) != PAGE_SIZE:  # with more, the upstream does not divide its list
                return

    async def _create(self, call: EmbedCall, source: FileSource, name: str, size: int) -> str:
        """Create an asset by one request; return its identifier."""
        body = MultipartBody(
            [
                Field("method", "direct"),
                Field("filename", name),
                Field("enable_hls", "false"),
                Field("enable_thumbnail", "false"),
                File("file", name, source.media_type, size, source.content),
            ]
        )
        request = self._dialect.request(call, b"POST", PATH, PATH, body)
        request.is_creation = True
        found = await read_json(await self._client.send(call, request, self._dialect.error_of(Subject.ASSET_CREATION)))
        return _asset(found, self._dialect.key(call)).id

    async def _wait(self, call: EmbedCall, side: EmbedCall, asset_id: str) -> None:
        """Wait until an asset is ready."""
        poll = Poll(side)
        is_reported = False
        while True:
            asset = await poll.attempt(lambda: self.get(side, asset_id))
            if asset is not None and not asset.status:
                raise unusable("its asset has no status")
            if asset is not None and asset.status == "ready":
                return
            if asset is not None and asset.status == "failed":
                words = sanitize_text(asset.message, self._dialect.key(call))
                raise UpstreamFailure(Reason.INPUT_REJECTED, words or "the upstream cannot use the file")
            if not is_reported:
                is_reported = True
                await call.enter(Stage.PREPARING)
            await poll.pause()

    async def _json(self, call: EmbedCall, request: Request) -> dict[str, Any]:
        return json_object(await answered(self._read(call, request)))

    async def _read(self, call: EmbedCall, request: Request) -> Any:  # noqa: ANN401 - any JSON value
        return await read_json(await self._client.send(call, request, self._dialect.error_of(Subject.ASSET)))


def _extension(file_name: str) -> str:
    """Return the extension of a file name, which may help the upstream to detect the format; empty without one."""
    found = _EXTENSION.search(file_name)
    return found[0] if found else ""


def _asset(value: Any, key: str | None) -> Asset:  # noqa: ANN401 - any JSON value
    """Parse an asset."""
    if not isinstance(value, dict):
        raise unusable("an asset is not a JSON object")
    error = value.get("error")
    return Asset(
        identifier(value.get("_id") or value.get("id"), key),
        _text(value.get("status")),
        _text(value.get("filename")),
        _time(value.get("created_at")),
        _text(error.get("message")) if isinstance(error, dict) else "",
    )


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else ""


def _time(value: Any) -> float:  # noqa: ANN401 - any JSON value
    """Return seconds since the epoch; the present for a time that cannot be parsed: such an asset is not old."""
    try:
        found = dt.datetime.fromisoformat(str(value))
    except ValueError:
        found = dt.datetime.now(dt.UTC)
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp()
