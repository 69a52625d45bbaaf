"""Checks of the variables by which OpenSSL finds certificate authorities, for connections to the upstream."""

import os
import ssl
from collections.abc import Iterator, Mapping

from embedwire_server.config.errors import Fault

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def faults(environment: Mapping[str, str]) -> Iterator[Fault]:
    """Yield errors of SSL_CERT_FILE and SSL_CERT_DIR: OpenSSL ignores them silently, and then trusts no authority."""
    for name in _AUTHORITIES:
        if not (path := environment.get(name)):
            continue
        try:
            if name == "SSL_CERT_DIR":
                os.listdir(path)  # noqa: PTH208 - whether it can be read
            else:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except OSError as error:  # also an ssl.SSLError
            message = "holds no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
            yield Fault(name, f"cannot be used: {message}; no certificate of an upstream will be trusted")
