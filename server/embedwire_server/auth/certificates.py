"""TLS certificate files in PEM: the server's certificate, and the CAs of its clients. They may change while it runs."""

import dataclasses
import ssl
from pathlib import Path

Stamp = tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Certificates:
    """The contents of the files: the server's chain, the private key of its first certificate, and the clients' CAs."""

    chain: bytes
    key: bytes = dataclasses.field(repr=False)
    client_ca: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The paths of the files. With `client_ca`, clients must present a certificate issued by one of its CAs."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> Stamp:
        """Return a value that changes whenever one of the files is replaced or written.

        Raises:
            OSError: a file is missing.
        """
        states = [path.stat() for path in self._paths()]
        return tuple((state.st_mtime_ns, state.st_ino, state.st_size) for state in states)

    def read(self) -> Certificates:
        """Read all files.

        Raises:
            ValueError: a file cannot be used, or changes meanwhile; the message names the fault.
        """
        try:
            before = self.stamp()
            self._check()
            authorities = self.client_ca.read_bytes() if self.client_ca is not None else None
            read = Certificates(self.certificate.read_bytes(), self.key.read_bytes(), authorities)
            if self.stamp() != before:
                raise ValueError("the files of the certificate changed while they were read")
        except OSError as error:
            raise ValueError(f"the files of the certificate cannot be read: {error.strerror}") from error
        return read

    def _check(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, _no_password)
        except ssl.SSLError as error:
            reason = (error.reason or "one of them is not in PEM format").replace("_", " ").lower()
            raise ValueError(f"tls-certificate and tls-key cannot be used: {reason}") from error
        try:
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            raise ValueError("tls-client-ca cannot be used: it holds no certificate in PEM") from error

    def _paths(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]


def _no_password() -> bytes:
    """Fail instead of supplying a password; without this callback, OpenSSL would ask for one at the terminal.

    Raises:
        ValueError: always.
    """
    raise ValueError("tls-key is encrypted: store it without a password, readable by the server only")
