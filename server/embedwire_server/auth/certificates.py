"""The certificate of the server, and whose clients it trusts: files in PEM that may change while it runs."""

import dataclasses
import ssl
from pathlib import Path

Stamp = tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Certificates:
    """What the files hold: the server's chain, the key of its first certificate, and the authorities of clients."""

    chain: bytes
    key: bytes = dataclasses.field(repr=False)
    client_ca: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are. With `client_ca`, clients have to show a certificate of one of its authorities."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> Stamp:
        """What changes whenever one of the files is replaced or written.

        Raises:
            OSError: one is not there.
        """
        states = [path.stat() for path in self._paths()]
        return tuple((state.st_mtime_ns, state.st_ino, state.st_size) for state in states)

    def read(self) -> Certificates:
        """Read them all.

        Raises:
            ValueError: they cannot be used, and which of them; also if they change meanwhile.
        """
        try:
            before = self.stamp()
            self._check()
            authorities = self.client_ca.read_bytes() if self.client_ca is not None else None
            read = Certificates(self.certificate.read_bytes(), self.key.read_bytes(), authorities)
            if self.stamp() != before:
                raise ValueError("the files of the certificate are just being written")
        except OSError as error:
            raise ValueError(f"the files of the certificate cannot be read: {error.strerror}") from error
        return read

    def _check(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, _no_password)
        except ssl.SSLError as error:
            reason = (error.reason or "one of them is no PEM").replace("_", " ").lower()
            raise ValueError(f"tls-certificate and tls-key cannot be used: {reason}") from error
        try:
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            raise ValueError("tls-client-ca cannot be used: it holds no certificate in PEM") from error

    def _paths(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]


def _no_password() -> bytes:
    """Asked for the password of a key; without this, the one at the terminal would be.

    Raises:
        ValueError: always.
    """
    raise ValueError("tls-key is encrypted: store it without a password, readable by the server alone")
