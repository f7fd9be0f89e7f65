"""HTTPS with a certificate that can be replaced while we listen.

Each handshake gets the newest certificate that could be read; the listener and open connections know nothing of it.
Where connections come from is in `listener.py`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from gateway.errors import ConfigurationError

log = logging.getLogger(__name__)


class Certificates:
    """A chain and its key, read again when the files change. Raises ConfigurationError when first made."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen = self._stamps()
        self.context = self._load()
        """For the listener. It passes every handshake on to the newest certificate."""
        self._newest = self.context
        self.context.sni_callback = self._use_newest

    def reload_if_changed(self) -> bool:
        """Read the files again where they have changed; blocks. A bad pair is logged and the last good one stays."""
        stamps = self._stamps()
        if stamps == self._seen or None in stamps:
            return False
        try:
            self._newest = self._load()
        except ConfigurationError as error:
            # Perhaps only one of the two has been written yet: looked at again next time.
            log.warning("certificate not replaced: %s", error)
            return False
        self._seen = stamps
        log.info("certificate read again from %s", self._certificate)
        return True

    async def watch(self, interval: float = 5.0) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(self.reload_if_changed)

    def _use_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError(f"http.certificate {self._certificate}, http.key {self._key}: {error}") from None
        return context

    def _stamps(self) -> tuple[tuple[int, int, int] | None, tuple[int, int, int] | None]:
        return _stamp(self._certificate), _stamp(self._key)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase")
