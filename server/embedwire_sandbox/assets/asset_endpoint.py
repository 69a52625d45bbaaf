"""Handlers of `/assets`: create, list, retrieve, delete."""

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from embedwire_sandbox.assets.asset import Asset
from embedwire_sandbox.assets.asset_store import AssetStore
from embedwire_sandbox.assets.inspector import Inspector
from embedwire_sandbox.bodies.form import Form, FormLimits, read_form
from embedwire_sandbox.calls import RECORDED_REQUEST
from embedwire_sandbox.countdown import Countdown
from embedwire_sandbox.errors import RefusalError, invalid, missing, too_large, unknown
from embedwire_sandbox.faults.injection import InjectedFault
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.media.fetch import Fetcher
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.replies import send_empty, send_json
from embedwire_sandbox.resources import new_id, now, page_of

_FIELDS: Final = ("method", "url", "filename", "enable_hls", "enable_thumbnail", "user_metadata")
_FILES: Final = ("file",)
_KINDS: Final = ("audio", "image", "video", "document")
_UNREADABLE: Final = "The file could not be fetched."


class AssetEndpoint:
    """Handlers of assets.

    Args:
        options: The options.
        gate: Checks that all operations share.
        store: The assets.
        inspector: Inspects files.
        fetcher: Fetches files by URL.
    """

    def __init__(
        self, options: SandboxOptions, gate: Gate, store: AssetStore, inspector: Inspector, fetcher: Fetcher
    ) -> None:
        self._options = options
        self._gate = gate
        self._store = store
        self._inspector = inspector
        self._fetcher = fetcher
        self._limits = FormLimits(
            options.max_field_bytes,
            options.max_asset_bytes,
            options.max_asset_bytes + options.max_field_bytes,
            oversize=lambda _, limit: too_large(limit),
            spool=store.file,
        )

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Create an asset from a file or a URL; 201.

        Raises:
            RefusalError: The form is invalid, or the file is too large.
        """
        recorded = request[RECORDED_REQUEST]
        with Form() as form:
            await read_form(request, form, self._limits, _FIELDS, _FILES)
            recorded.parts = form.names
            fault = await self._gate.after_body(request)
            asset = await self._created(form, request.headers["x-api-key"], fault)
        recorded.resource_id = asset.id
        return await send_json(request, fault, asset.to_json(created=True), status=201)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Return an asset, and count the poll.

        Raises:
            RefusalError: 404.
        """
        fault = await self._gate.after_body(request)
        asset = self._store.get(request.headers["x-api-key"], request.match_info["id"])
        before = asset.to_json()
        is_over = asset.countdown.poll()
        return await send_json(request, fault, asset.to_json() if is_over else before)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete an asset; 204, or 404 if there is none.

        Raises:
            RefusalError: 404.
        """
        fault = await self._gate.after_body(request)
        self._store.delete(request.headers["x-api-key"], request.match_info["id"])
        return await send_empty(request, fault, status=204)

    async def list_page(self, request: web.Request) -> web.StreamResponse:
        """Return a page of the assets of the key, newest first.

        Raises:
            RefusalError: A parameter of the query is invalid.
        """
        fault = await self._gate.after_body(request)
        query = request.query
        ids, kinds = query.getall("asset_ids", []), query.getall("asset_types", [])
        if any(kind not in _KINDS for kind in kinds):
            raise invalid("asset_types", f"You should use one of the following values: {', '.join(_KINDS)}.")
        name = query.get("filename", "").casefold()
        found = [
            asset
            for asset in self._store.of(request.headers["x-api-key"])
            if (not ids or asset.id in ids)
            and (not kinds or (asset.inspection and asset.inspection.kind in kinds))
            and name in asset.filename.casefold()
        ]
        page, info = page_of(found, query)
        return await send_json(request, fault, {"data": [asset.to_json() for asset in page], "page_info": info})

    async def _created(self, form: Form, owner: str, fault: InjectedFault) -> Asset:
        fields = _text_fields(form)
        method = fields.get("method")
        if method not in {"direct", "url"}:
            raise missing("method") if not method else invalid("method", "It has to be direct or url.")
        asset = Asset(
            new_id(),
            owner,
            "direct" if method == "direct" else "url",
            fields.get("filename") or "",
            now(),
            Countdown(self._options.asset_polls, self._options.asset_seconds),
            failure=fault.failure,
            enable_hls=_flag(fields, "enable_hls"),
            user_metadata=_metadata(fields),
        )
        _flag(fields, "enable_thumbnail")
        if method == "direct":
            await self._from_file(asset, form)
        else:
            self._from_url(asset, form, fields.get("url") or "")
        self._store.add(asset)
        return asset

    async def _from_file(self, asset: Asset, form: Form) -> None:
        if form.fields.get("url"):
            raise invalid("url", "It cannot be combined with the method direct.")
        upload = form.files.get("file")
        if upload is None:
            raise missing("file")
        asset.inspection = await self._inspector.inspect(upload)
        asset.filename = asset.filename or upload.filename or "upload"
        asset.content = form.files.pop("file")  # the store closes it from now on

    def _from_url(self, asset: Asset, form: Form, url: str) -> None:
        if form.files:
            raise invalid("file", "It cannot be combined with the method url.")
        if not url:
            raise missing("url")
        asset.filename = asset.filename or url.partition("?")[0].rpartition("/")[2] or "upload"
        asset.fetching = asyncio.create_task(self._fetch(asset, url))

    async def _fetch(self, asset: Asset, url: str) -> None:
        file = self._store.file()
        try:
            upload = await self._fetcher.fetch(url, "url", file)
        except RefusalError:  # the file is closed
            asset.failure = asset.failure or _UNREADABLE
            return
        asset.content = Upload(upload.file, upload.size)
        asset.inspection = await self._inspector.inspect(asset.content)


def _text_fields(form: Form) -> dict[str, str]:
    for name in form.names:
        if name not in (*_FIELDS, *_FILES):
            raise unknown(name)
    try:
        return {name: value.decode() for name, value in form.fields.items()}
    except UnicodeDecodeError:
        raise invalid("filename", "It is not UTF-8.") from None


def _flag(fields: dict[str, str], name: str) -> bool:
    value = fields.get(name) or "true"
    if value not in {"true", "false"}:
        raise invalid(name, "It has to be true or false.")
    return value == "true"


def _metadata(fields: dict[str, str]) -> Any:  # noqa: ANN401
    text = fields.get("user_metadata")
    if not text:
        return None
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise invalid("user_metadata", "It has to be a JSON object.")
    return metadata
