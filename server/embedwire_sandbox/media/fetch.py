"""Fetches media from URLs; from loopback addresses only, unless configured otherwise.

A URL is requested exactly as given: no percent-encoding, dot segment or parameter is rewritten, since any change breaks
the signature of a signed URL. Redirects are not followed: third parties report that the upstream does not (upstream API
notes, section 2).
"""

import ipaddress
import re
import socket
from types import TracebackType
from typing import IO, Final, Self
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from embedwire_sandbox.errors import invalid
from embedwire_sandbox.media.upload import Upload, spool

_OK: Final = 200
_CHUNK_BYTES: Final = 1 << 16
_URL: Final = re.compile(r"(https?)://([^/?#\\]+)([^#]*)(?:#.*)?", re.IGNORECASE)
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_LIKE_ADDRESS: Final = re.compile(r"[0-9.]*|.*:.*")  # hosts that aiohttp connects to without the resolver


class FetchError(Exception):
    """The URL could not be fetched; the message has the reason, without the URL."""


class Fetcher:
    """HTTP client for media files. Use it as an async context manager.

    Args:
        any_url: Fetch from any host. Else only from loopback addresses, whatever name resolves to them.
        timeout_sec: Timeout for one file, in seconds.
        max_bytes: Limit of a file, in bytes.
    """

    def __init__(self, *, any_url: bool, timeout_sec: float, max_bytes: int) -> None:
        self._any_url = any_url
        self._timeout = aiohttp.ClientTimeout(total=timeout_sec)
        self._max_bytes = max_bytes

    async def __aenter__(self) -> Self:
        resolver = aiohttp.ThreadedResolver() if self._any_url else _LoopbackResolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),  # cookies must not leak between callers
            timeout=self._timeout,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, url: str, parameter: str, file: IO[bytes] | None = None) -> Upload:
        """Fetch a file; the caller closes it.

        Args:
            url: An absolute http or https URL.
            parameter: Name of its parameter, for the message.
            file: An empty file for the content, which is closed after an error. By default a temporary one.

        Raises:
            RefusalError: There is no file of a permitted size at that URL, or the URL is not permitted.
        """
        file = file or spool()
        try:
            size = await self._download(self._permitted(url), file)
        except (FetchError, aiohttp.ClientError, OSError, ValueError) as error:
            file.close()
            reason = str(error) if isinstance(error, FetchError) else "It cannot be fetched."
            raise invalid(parameter, f"The URL is unreachable or is not a media file. {reason}") from None
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return Upload(file, size, url=url)

    def _permitted(self, url: str) -> URL:
        parsed = _parsed(url)
        host = parsed.raw_host or ""
        # aiohttp does not resolve a literal address, so it is checked here.
        if not self._any_url and _LIKE_ADDRESS.fullmatch(host) and not _is_loopback(host):
            raise FetchError("The sandbox fetches from loopback addresses only.")
        return parsed

    async def _download(self, url: URL, file: IO[bytes]) -> int:
        size = 0
        headers = {"Accept-Encoding": "identity"}  # no compression: signatures and sizes are those of the file
        async with self._session.get(url, allow_redirects=False, headers=headers) as response:
            if response.status != _OK:
                raise FetchError(f"It answers with status {response.status}.")
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if size > self._max_bytes:
                    raise FetchError(f"It is larger than {self._max_bytes} bytes.")
                file.write(chunk)
        return size


def _parsed(url: str) -> URL:
    """Parse a URL; everything behind the authority becomes its path, so that yarl does not rewrite it."""
    match = _URL.fullmatch(url)
    if match is None or _FORBIDDEN.search(url):
        raise FetchError("It is not an absolute http or https URL, or it has spaces or control characters.")
    scheme, authority, target = match.groups()
    origin = URL(f"{scheme}://{authority}")  # lower case, and the ASCII form of an international name
    if not origin.host:
        raise FetchError("It has no host.")
    target = target if target.startswith("/") else f"/{target}"
    # A request line is ASCII, so this is the only encoding.
    target = _NOT_ASCII.sub(lambda found: quote(found[0]), target)
    return URL.build(scheme=origin.scheme, authority=origin.raw_authority, path=target, encoded=True)


class _LoopbackResolver(AbstractResolver):
    """Resolves names as the system does and keeps loopback addresses only."""

    def __init__(self) -> None:
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        local = [address for address in found if _is_loopback(address["host"])]
        if not local:
            raise OSError(None, "The sandbox fetches from loopback addresses only.")
        return local

    async def close(self) -> None:
        await self._system.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
