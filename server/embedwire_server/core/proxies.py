"""HTTP proxy for connections to the upstream: its URL, HTTPS_PROXY and NO_PROXY.

The credentials in a proxy's URL appear in no repr, message or log.
"""

import base64
import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from embedwire_server.core.address import parse_base_url

NONE = "none"  # value of the setting for no proxy, whatever the environment says
DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:(?P<user>.*)@)?(?P<authority>[^@/?#]+)/?", re.DOTALL)
_WORDS = "must be the URL of a proxy, such as http://proxy.example:3128 or http://user:password@proxy.example:3128"
_NO_PROXY_ENTRY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{1,5}))?")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """HTTP proxy.

    Attributes:
        host: name or address, without brackets.
        port: port.
        is_tls: whether the connection to the proxy itself uses TLS.
        user: the credentials, as `user:password`; they appear in no repr.
    """

    host: str
    port: int
    is_tls: bool = False
    user: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers of requests to the proxy: the credentials."""
        if self.user is None:
            return ()
        return ((b"Proxy-Authorization", b"Basic " + base64.b64encode(self.user)),)

    @property
    def address(self) -> str:
        """Address as HOST:PORT, for logs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Return the URL, credentials masked."""
        return f"{'https' if self.is_tls else 'http'}://{'' if self.user is None else '***@'}{self.address}"


def parse(text: str) -> Proxy:
    """Parse the URL of a proxy; the default scheme is http.

    Raises:
        ValueError: it is not valid; the text does not quote it.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(f"{_WORDS}, without path, query and fragment")
    scheme = (match["scheme"] or "http").lower()
    if scheme.startswith("socks"):
        raise ValueError("SOCKS proxies are not supported; set an HTTP proxy, or 'none' to connect without a proxy")
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"{_WORDS}; its scheme must be http or https")
    try:
        url = urlsplit(parse_base_url(f"{scheme}://{match['authority']}"))
    except ValueError:
        raise ValueError(_WORDS) from None
    user = match["user"]
    credentials = None if user is None else unquote_to_bytes(user if ":" in user else f"{user}:")
    return Proxy(url.hostname or "", url.port or DEFAULT_PORTS[scheme], scheme == "https", credentials)


def variable_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the environment variable with the proxy for a URL; None if no proxy is used for it.

    A lower-case name takes precedence, also if it is empty. NO_PROXY lists hosts that need no proxy.
    """
    scheme = urlsplit(url).scheme
    for name in (f"{scheme}_proxy", "all_proxy"):
        chosen = _chosen(name, environment)
        if chosen is not None and environment[chosen]:
            excluded = _chosen("no_proxy", environment)
            is_direct = excluded is not None and is_excluded(url, environment[excluded])
            return None if is_direct else chosen
    return None


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def is_excluded(url: str, entries: str) -> bool:
    """Whether NO_PROXY lists the host of a URL.

    An entry is `*`, a host with all of its subdomains (also with `.` or `*.` in front), an IP address, or a network in
    CIDR form. Host and address may have a port. Entries that are none of these match nothing.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    return any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", entries.lower()) if entry)


def _chosen(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the name of a variable in lower or upper case; None if it is not set.

    In CGI scripts, HTTP_PROXY is the value of the request header Proxy, so it is not trusted.
    """
    if name in environment:
        return name
    is_forged = name == "http_proxy" and "REQUEST_METHOD" in environment
    return name.upper() if name.upper() in environment and not is_forged else None


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if (network := _network(entry)) is not None:
        return address is not None and address in network
    match = _NO_PROXY_ENTRY.fullmatch(entry)
    if match is None or (match["port"] and int(match["port"]) != port):
        return False
    listed = match["host"].strip("[]")
    if (network := _network(listed)) is not None:
        return address is not None and address in network
    name = listed.removeprefix("*").strip(".")
    return bool(name) and address is None and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Parse an address or a network in CIDR form; an address is a network of one."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
