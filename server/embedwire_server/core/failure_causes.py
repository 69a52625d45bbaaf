"""Causes of connection failures and of missing local resources, as a closed list.

A cause has the same value in the log, in metric labels and in `Failure.cause`.
`embedding.proto` lists the values for callers; a test compares the two lists.
"""

import enum
import errno


class Cause(enum.StrEnum):
    """Cause of a connection failure, or a resource that the server lacks."""

    NAME_NOT_FOUND = "name_not_found"
    DNS_FAILED = "dns_failed"
    CONNECTION_REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    NETWORK_UNREACHABLE = "network_unreachable"
    HOST_UNREACHABLE = "host_unreachable"
    ADDRESS_INVALID = "address_invalid"

    PROXY_UNREACHABLE = "proxy_unreachable"
    PROXY_REFUSED = "proxy_refused"
    PROXY_AUTHENTICATION = "proxy_authentication"

    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_SELF_SIGNED = "certificate_self_signed"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_WRONG_NAME = "certificate_wrong_name"
    TLS_TO_PLAINTEXT_PORT = "tls_to_plaintext_port"
    TLS_TIMEOUT = "tls_timeout"
    TLS_FAILED = "tls_failed"

    CONNECTION_RESET = "connection_reset"
    CONNECTION_CLOSED = "connection_closed"
    PLAINTEXT_TO_TLS_PORT = "plaintext_to_tls_port"
    NOT_HTTP = "not_http"

    FILE_DESCRIPTORS = "file_descriptors"
    LOCAL_PORTS = "local_ports"
    MEMORY = "memory"
    DISK_FULL = "disk_full"
    SPOOL_UNAVAILABLE = "spool_unavailable"

    CONNECTION_FAILED = "connection_failed"


WORDS: dict[Cause, str] = {
    Cause.NAME_NOT_FOUND: "the upstream's host name does not exist; the operator must check --upstream",
    Cause.DNS_FAILED: "the upstream's host name could not be resolved: no DNS server gave an answer",
    Cause.CONNECTION_REFUSED: "the upstream refused the connection: nothing listens on its port",
    Cause.CONNECT_TIMEOUT: "connecting to the upstream timed out: its host, or DNS, does not respond",
    Cause.NETWORK_UNREACHABLE: "there is no route to the upstream's network; the operator must check the network",
    Cause.HOST_UNREACHABLE: "there is no route to the upstream's host; the operator must check the network",
    Cause.ADDRESS_INVALID: "the upstream's address cannot be used; the operator must check --upstream",
    Cause.PROXY_UNREACHABLE: "the proxy in front of the upstream cannot be reached, or does not answer; "
    "the operator must check --upstream-proxy, or HTTPS_PROXY and HTTP_PROXY",
    Cause.PROXY_REFUSED: "the proxy refused to connect to the upstream; "
    "the operator must check the rules of the proxy, and --upstream",
    Cause.PROXY_AUTHENTICATION: "the proxy in front of the upstream requires credentials, or does not accept "
    "those it got; the operator must set them in the URL of --upstream-proxy",
    Cause.CERTIFICATE_UNTRUSTED: "the upstream's certificate is of an authority that this server does not trust; "
    "the operator must check --upstream, or add the authority with --upstream-ca",
    Cause.CERTIFICATE_SELF_SIGNED: "the upstream's certificate is self-signed; "
    "the operator must check --upstream, or add the certificate with --upstream-ca",
    Cause.CERTIFICATE_EXPIRED: "the upstream's certificate has expired; its owner must renew it, "
    "or the clock of this server is wrong",
    Cause.CERTIFICATE_NOT_YET_VALID: "the upstream's certificate is not valid yet, "
    "or the clock of this server is wrong",
    Cause.CERTIFICATE_WRONG_NAME: "the upstream's certificate is for another name; the operator must check --upstream",
    Cause.TLS_TO_PLAINTEXT_PORT: "the upstream's port does not use TLS; the operator must check https in --upstream",
    Cause.TLS_TIMEOUT: "the TLS handshake with the upstream timed out; "
    "its port may not use TLS: the operator must check https in --upstream",
    Cause.TLS_FAILED: "the TLS handshake with the upstream failed: "
    "no common protocol version or cipher, or it requires a client certificate",
    Cause.CONNECTION_RESET: "the upstream reset the connection without an answer",
    Cause.CONNECTION_CLOSED: "the upstream closed the connection without an answer",
    Cause.PLAINTEXT_TO_TLS_PORT: "the upstream's port requires TLS; the operator must set https in --upstream",
    Cause.NOT_HTTP: "the upstream's reply cannot be used: it is not HTTP",
    Cause.FILE_DESCRIPTORS: "the server has no file descriptor left; its operator must raise the limit (ulimit -n)",
    Cause.LOCAL_PORTS: "the server has no local address or port left for a connection to the upstream",
    Cause.MEMORY: "the server has no memory left",
    Cause.DISK_FULL: "the server has no disk space left for this upload",
    Cause.SPOOL_UNAVAILABLE: "the server cannot write uploads to disk; its operator must check --uploads-spool-dir",
    Cause.CONNECTION_FAILED: "the upstream could not be reached",
}

# Resources of this server, not the upstream.
OWN = frozenset(
    {Cause.FILE_DESCRIPTORS, Cause.LOCAL_PORTS, Cause.MEMORY, Cause.DISK_FULL, Cause.SPOOL_UNAVAILABLE},
)

# Another attempt cannot succeed without a change of the configuration, the network or the upstream.
PERMANENT = frozenset(
    {
        Cause.NAME_NOT_FOUND,
        Cause.ADDRESS_INVALID,
        Cause.PROXY_AUTHENTICATION,
        Cause.CERTIFICATE_UNTRUSTED,
        Cause.CERTIFICATE_SELF_SIGNED,
        Cause.CERTIFICATE_EXPIRED,
        Cause.CERTIFICATE_NOT_YET_VALID,
        Cause.CERTIFICATE_WRONG_NAME,
        Cause.TLS_TO_PLAINTEXT_PORT,
        Cause.PLAINTEXT_TO_TLS_PORT,
    }
)

_OWN_ERRNOS = {
    errno.EMFILE: Cause.FILE_DESCRIPTORS,
    errno.ENFILE: Cause.FILE_DESCRIPTORS,
    errno.ENOMEM: Cause.MEMORY,
    errno.ENOBUFS: Cause.MEMORY,
    errno.ENOSPC: Cause.DISK_FULL,
    errno.EDQUOT: Cause.DISK_FULL,
    errno.EFBIG: Cause.DISK_FULL,
}


def lacking(error: BaseException) -> Cause | None:
    """Return the resource of this server whose exhaustion an exception reports; None for any other exception."""
    if isinstance(error, MemoryError):
        return Cause.MEMORY
    return _OWN_ERRNOS.get(error.errno or 0) if isinstance(error, OSError) else None


def of_spool(error: OSError) -> Cause:
    """Return why a file could not be spooled."""
    return lacking(error) or Cause.SPOOL_UNAVAILABLE
