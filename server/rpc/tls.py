"""TLS of the gRPC port. Certificates are read again when their files change: no restart, and no call is lost."""

import logging
from pathlib import Path

import grpc

from server.settings import TlsSettings

logger = logging.getLogger(__name__)


class TlsError(RuntimeError):
    """The files of certificate and key can't be used."""


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """Return credentials for a port; raises TlsError where the files can't be read."""
    try:
        files = _Files(settings)
        return grpc.dynamic_ssl_server_credentials(
            files.configuration(),
            files.changed,  # type: ignore[arg-type] # None says that nothing has changed
            require_client_authentication=settings.client_ca is not None,
        )
    except (OSError, ValueError) as error:
        raise TlsError(f"certificate {settings.certificate} and key {settings.key} can't be used: {error}") from error


class _Files:
    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._stamp = self._stamped()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        settings = self._settings
        pair = (settings.key.read_bytes(), settings.certificate.read_bytes())
        client_ca = None if settings.client_ca is None else settings.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], client_ca)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration when a file has changed; gRPC asks at every handshake."""
        try:
            if (stamp := self._stamped()) == self._stamp:
                return None
            configuration = self.configuration()
        except OSError as error:
            logger.error("the certificate can't be read again, the one before stays in use: %s", error)
            return None
        self._stamp = stamp
        logger.warning("the certificate was read again")
        return configuration

    def _stamped(self) -> tuple[int, ...]:
        paths: tuple[Path | None, ...] = (self._settings.certificate, self._settings.key, self._settings.client_ca)
        return tuple(path.stat().st_mtime_ns for path in paths if path is not None)
