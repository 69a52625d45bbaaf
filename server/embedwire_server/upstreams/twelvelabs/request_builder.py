"""Builds the HTTP requests of all versions of the API: URL, headers, credential."""

import httpx

from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.exchange import Request
from embedwire_server.upstreams.http.json_body import JsonBody
from embedwire_server.upstreams.http.multipart import MultipartBody


class RequestBuilder:
    """Builder of requests to one API.

    Args:
        base_url: the API's root with its version, without a trailing slash.
        key: the server's API key, if any, for calls without their own; it appears in no message or repr.
        user_agent: value of the User-Agent header.
    """

    def __init__(self, base_url: str, key: str | None, user_agent: str) -> None:
        self._base_url = base_url
        self._key = key
        # No compression: it would delay the first segment, and a small response could grow without bound.
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": user_agent}
        self._headers = httpx.Headers(headers).raw
        # Cached by endpoint, with its headers: parsing a URL costs as much as decoding a short response.
        self._endpoints: dict[str, tuple[httpx.URL, list[tuple[bytes, bytes]]]] = {}

    def key(self, call: EmbedCall) -> str | None:
        """Return the credential of a call: its own, else the server's."""
        return call.credential or self._key

    def post(self, call: EmbedCall, endpoint: str, body: MultipartBody | JsonBody) -> Request:
        """Build a POST request to a path without identifiers."""
        if endpoint not in self._endpoints:
            self._endpoints[endpoint] = self._target(endpoint)
        url, common = self._endpoints[endpoint]
        content = body if body.inline is None else body.inline
        return Request(url, self._all_headers(call, common, body), content, endpoint=endpoint)

    def request(
        self, call: EmbedCall, method: bytes, path: str, endpoint: str, body: MultipartBody | JsonBody | None
    ) -> Request:
        """Build any request; its path may have identifiers, so that it is not cached."""
        url, common = self._target(path)
        content = b"" if body is None else body if body.inline is None else body.inline
        return Request(url, self._all_headers(call, common, body), content, method, endpoint)

    def _target(self, path: str) -> tuple[httpx.URL, list[tuple[bytes, bytes]]]:
        url = httpx.URL(self._base_url + path)
        return url, [(b"Host", url.netloc), *self._headers]

    def _all_headers(
        self, call: EmbedCall, common: list[tuple[bytes, bytes]], body: MultipartBody | JsonBody | None
    ) -> list[tuple[bytes, bytes]]:
        headers = [*common]
        if body is not None:
            headers.append((b"content-type", body.content_type.encode()))
            headers.append((b"content-length", str(body.length).encode()))
        if key := self.key(call):
            headers.append((b"x-api-key", key.encode()))
        return headers
