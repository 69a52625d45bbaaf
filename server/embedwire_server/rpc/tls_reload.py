"""TLS credentials of the gRPC port, with certificate rotation.

New certificate files are in force from the next connection on, without a restart. Open connections keep their
certificate, at most until `max_connection_age` has passed.
"""

import threading

import grpc
import structlog

from embedwire_server.auth.certificates import CertificateFiles, Certificates

log = structlog.get_logger(__name__)


class RotatingCredentials:
    """Server credentials that check the certificate files for changes on each new connection.

    Args:
        files: the certificate files.

    Raises:
        ValueError: the files cannot be used.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._stamp = files.stamp()
        self._current = files.read()
        self._lock = threading.Lock()  # gRPC calls `_fetch` from its own threads
        self._fault = ""

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials for a new port."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._current),
            self._fetch,  # type: ignore[arg-type] # None is documented
            require_client_authentication=self._files.client_ca is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificates if they have changed since the last call; None keeps those in force."""
        with self._lock:
            try:
                stamp = self._files.stamp()
                if stamp == self._stamp:
                    return None
                found = self._files.read()
            except (OSError, ValueError) as error:
                self._refuse(str(error))
                return None
            self._stamp, self._current, self._fault = stamp, found, ""
        log.info("the certificate was reloaded")
        return _configuration(found)

    def _refuse(self, fault: str) -> None:
        """Log a fault once, not for every connection."""
        if fault != self._fault:
            self._fault = fault
            log.error("the new certificate is invalid, the old one stays in use", fault=fault)


def _configuration(found: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(found.key, found.chain)], found.client_ca)
