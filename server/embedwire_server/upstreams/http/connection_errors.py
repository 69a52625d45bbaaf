"""Maps network exceptions to causes. The transport wraps them; the innermost known exception decides."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator

import httpx

from embedwire_server.core import failure_causes
from embedwire_server.core.failure_causes import WORDS, Cause
from embedwire_server.upstreams.http.exchange import TlsRecordReceived
from embedwire_server.upstreams.http.response_parser import MalformedResponseError
from embedwire_server.upstreams.http.tunnel import TunnelError

_ERRNOS = {
    errno.ECONNREFUSED: Cause.CONNECTION_REFUSED,
    errno.ETIMEDOUT: Cause.CONNECT_TIMEOUT,
    errno.ENETUNREACH: Cause.NETWORK_UNREACHABLE,
    errno.ENETDOWN: Cause.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Cause.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Cause.HOST_UNREACHABLE,
    errno.ECONNRESET: Cause.CONNECTION_RESET,
    errno.EPIPE: Cause.CONNECTION_CLOSED,
    errno.ECONNABORTED: Cause.CONNECTION_CLOSED,
    errno.EADDRNOTAVAIL: Cause.LOCAL_PORTS,
}
_NAME_ERRORS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
# X509_V_ERR_* of OpenSSL, which Python gives no names.
_VERIFY_CODES = {
    9: Cause.CERTIFICATE_NOT_YET_VALID,
    10: Cause.CERTIFICATE_EXPIRED,
    18: Cause.CERTIFICATE_SELF_SIGNED,
    62: Cause.CERTIFICATE_WRONG_NAME,
    64: Cause.CERTIFICATE_WRONG_NAME,
}
# OpenSSL's reasons for bytes that are no TLS record.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG"}
_ERRNO = re.compile(r"\[Errno (\d+)\]")
# Error texts of nginx, Go and Apache.
_TLS_ONLY = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|plain HTTP to an SSL-enabled",
    re.IGNORECASE,
)
PROXY_AUTHENTICATION_REQUIRED = 407
_JSON = {b"{", b"[", b'"'}
# If the addresses of a host failed in different ways, the most likely reason comes first.
_PRECEDENCE = (
    Cause.FILE_DESCRIPTORS,
    Cause.MEMORY,
    Cause.CONNECTION_REFUSED,
    Cause.CONNECTION_RESET,
    Cause.CONNECT_TIMEOUT,
    Cause.HOST_UNREACHABLE,
    Cause.NETWORK_UNREACHABLE,
    Cause.LOCAL_PORTS,
)


def cause_of(error: BaseException) -> Cause:
    """Return why there was no connection, or no usable response.

    Args:
        error: an exception of the transport; its `__cause__` chain leads to that of the network.
    """
    links = [*_chain(error)]
    if isinstance(error, httpx.ProxyError):
        return _of_proxy(links)
    for link in links:
        if (cause := _of_link(link)) is not None:
            return cause
    return Cause.CONNECTION_FAILED


def message_of(error: BaseException, cause: Cause) -> str:
    """Return the message for a cause, for callers and the log; with the status if a proxy refused."""
    for link in _chain(error):
        if cause is Cause.PROXY_REFUSED and isinstance(link, TunnelError):
            return f"{WORDS[cause]}: {link}"
    return WORDS[cause]


def requires_tls(status: int, body: bytes) -> bool:
    """Whether the response to a request without TLS says that the port requires TLS.

    All three servers send HTML or text/plain. JSON comes from the API itself and may quote a caller's text.
    """
    return status == 400 and body.lstrip()[:1] not in _JSON and _TLS_ONLY.search(body) is not None  # noqa: PLR2004


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return the exception and its causes, innermost first."""
    links = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__
    return reversed(links)


def _of_link(error: BaseException) -> Cause | None:  # noqa: PLR0911 - one for each kind
    if isinstance(error, ssl.SSLError):  # an OSError whose errno is not one of the system
        return _of_tls(error)
    if isinstance(error, socket.gaierror):
        return _of_name(error)
    if isinstance(error, TimeoutError):
        return Cause.CONNECT_TIMEOUT
    if isinstance(error, httpx.UnsupportedProtocol):
        return Cause.ADDRESS_INVALID
    if isinstance(error, TlsRecordReceived):
        return Cause.PLAINTEXT_TO_TLS_PORT
    if isinstance(error, MalformedResponseError):
        return Cause.NOT_HTTP
    if isinstance(error, EOFError):
        return Cause.CONNECTION_CLOSED
    if isinstance(error, OSError | MemoryError | RuntimeError):
        return failure_causes.lacking(error) or _of_system(error)
    return None


def _of_proxy(links: list[BaseException]) -> Cause:
    """Return the cause of a failure at the proxy, or on the way to it; lack of local resources takes precedence."""
    for link in links:
        if isinstance(link, TunnelError):
            return Cause.PROXY_AUTHENTICATION if link.status == PROXY_AUTHENTICATION_REQUIRED else Cause.PROXY_REFUSED
        if (cause := _of_link(link)) in failure_causes.OWN:
            return cause
    return Cause.PROXY_UNREACHABLE


def _of_tls(error: ssl.SSLError) -> Cause:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, Cause.CERTIFICATE_UNTRUSTED)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Cause.CONNECTION_CLOSED
    return Cause.TLS_TO_PLAINTEXT_PORT if error.reason in _NO_TLS else Cause.TLS_FAILED


def _of_name(error: socket.gaierror) -> Cause:
    """Return the cause of a failed name lookup.

    Without free file descriptors, the resolver reports that the name does not exist, or that DNS does not respond.
    """
    try:
        os.close(os.dup(0))
    except OSError as fault:
        if (own := failure_causes.lacking(fault)) is not None:
            return own
    if error.errno == getattr(socket, "EAI_MEMORY", None):
        return Cause.MEMORY
    return Cause.NAME_NOT_FOUND if error.errno in _NAME_ERRORS else Cause.DNS_FAILED


def _of_system(error: BaseException) -> Cause | None:
    """Return the cause by errno; if several addresses failed in different ways, only the message has the numbers."""
    number = getattr(error, "errno", None)
    if number is None:
        numbers = map(int, _ERRNO.findall(str(error)))
        found = {_ERRNOS.get(number) or failure_causes.lacking(OSError(number, "")) for number in numbers}
        if listed := next((cause for cause in _PRECEDENCE if cause in found), None):
            return listed
        return _without_errno(error)
    return _ERRNOS.get(number)


def _without_errno(error: BaseException) -> Cause | None:
    """Return the cause of exceptions that asyncio and uvloop raise themselves, and of aborted connections."""
    if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return Cause.CONNECTION_CLOSED
    return Cause.CONNECTION_REFUSED if isinstance(error, ConnectionRefusedError) else None
