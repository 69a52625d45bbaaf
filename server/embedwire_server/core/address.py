"""Validates listen addresses (HOST:PORT) and the upstream's base URL.

Both are checked so strictly that every library reads them in the same way.
"""

import ipaddress
import re

LAST_PORT = 65535
_ADDRESS = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\]]*\]|[^:/\[\]]*)(:(?P<port>[0-9]{1,5}))?(?P<path>/.*)?", re.IGNORECASE
)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")
_LIKE_IPV4 = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")  # names do not end in a number
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_BASE_URL = (
    "must be the upstream's base URL, such as https://host.example/v1.3, with a host in ASCII, a port from 1 to 65535 "
    "or none, and without user info, query, fragment, % and .. in it; or the word sandbox"
)


class Address(str):
    """Listen address HOST:PORT, for instance 127.0.0.1:50051 or [::1]:50051. Port 0 takes a free one."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """Host, without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port, 0 to 65535."""
        return int(self.rpartition(":")[2])

    def with_port(self, port: int) -> "Address":
        """Return the address with another port."""
        return Address(f"{self.rpartition(':')[0]}:{port}")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def parse_address(text: str) -> Address:
    """Validate HOST:PORT.

    Raises:
        ValueError: it is not valid; the text describes the format.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not _is_host(match["host"]) or int(match["port"]) > LAST_PORT:
        raise ValueError("must be HOST:PORT with a port from 0 to 65535, for instance 127.0.0.1:50051")
    return Address(text)


def parse_base_url(text: str) -> str:
    """Normalize a base URL: no slash at the end, no default port, a host in lower case.

    Raises:
        ValueError: it is not valid; the text describes the format.
    """
    match = _BASE_URL.fullmatch(text)
    if match is None or not _is_host(match["host"]) or not is_path(match["path"] or "/"):
        raise ValueError(_NO_BASE_URL)
    scheme = match["scheme"].lower()
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= LAST_PORT:
        raise ValueError(_NO_BASE_URL)
    shown = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{match['host'].lower()}{shown}{(match['path'] or '').rstrip('/')}"


def is_path(text: str) -> bool:
    """Whether it is a path that no library rewrites: nothing to encode, and no segment . or .. in it."""
    return _PATH.fullmatch(text) is not None and not {".", ".."} & {*text.split("/")}


def _is_host(text: str) -> bool:
    try:
        if text.startswith("["):
            return ipaddress.IPv6Address(text[1:-1]).scope_id is None
        if _LIKE_IPV4.fullmatch(text):
            ipaddress.IPv4Address(text)
            return True
    except ValueError:
        return False
    return _NAME.fullmatch(text) is not None
