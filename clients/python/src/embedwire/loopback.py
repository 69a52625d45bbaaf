"""Recognition of loopback targets: credentials may be sent to them in plaintext, and no proxy is used for them."""

import re

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"127(?:\.{_OCTET}){{3}}(?::\d+)?"
_IPV6 = r"\[::1\](?::\d+)?"
_HOST = rf"(?:localhost(?::\d+)?|{_IPV4}|{_IPV6}|::1)"
# Without `dns://SERVER/...`: that server may resolve localhost to any address.
_LOOPBACK = re.compile(
    rf"unix(?:-abstract)?:.*|(?:dns:(?:///)?)?{_HOST}|ipv4:{_IPV4}(?:,{_IPV4})*|ipv6:{_IPV6}(?:,{_IPV6})*",
    re.IGNORECASE | re.ASCII,
)


def is_loopback(target: str) -> bool:
    """Return whether a target is a Unix socket, localhost or a loopback address.

    Only the usual notations are recognized. A notation that gRPC may read in another way counts as remote.
    """
    return _LOOPBACK.fullmatch(target) is not None
