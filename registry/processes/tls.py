"""The certificate of the node: loaded, and loaded again when its files change.

Each change makes a new SSLContext, which connections from then on are given. `load_cert_chain` on a context in use
would be shorter, but it is no transaction: a certificate whose key does not fit takes the old key away before it says
so, and a CA that was once loaded is never forgotten. A context that is swapped in `sni_callback` brings its certificate
and its CAs, while verify_mode and sessions stay those of the first one. Connections keep what they began with.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from registry.config import TlsSettings
from registry.errors import StartupError

log = structlog.get_logger(__name__)

_LOOK_EVERY = 2.0  # seconds
# TLS 1.2: forward secrecy and AEAD alone (RFC 9325, section 4.2); TLS 1.3 has nothing else
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

# the last one: the key is of another kind than the certificate
_NO_FIT = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")

_Stamps = tuple[tuple[int, int, int] | None, ...]


class Tls:
    """The context for new connections, which follows its files. Not for use from several threads."""

    def __init__(self, settings: TlsSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises StartupError where the files cannot be used."""
        self._settings = settings
        self._clock = clock
        self._loaded = self._seen = _stamps(settings)
        self._told = False
        self._context = context_of(settings)
        self._looked = clock()

    def context(self) -> ssl.SSLContext:
        """The one for a connection that begins now; looks at the files if nobody has done so for two seconds."""
        if self._clock() - self._looked >= _LOOK_EVERY:
            self.look()
        return self._context

    def look(self, *, finished: bool = False) -> None:
        """Take what the files hold now, where they have changed; what cannot be used leaves the former in force.

        That is told once, and unless somebody says that he has `finished`, when the same files are met a second time:
        a certificate and its key do not change in one step.
        """
        self._looked = self._clock()
        stamps = _stamps(self._settings)
        if stamps == self._loaded:
            return
        try:
            self._context = context_of(self._settings)
        except StartupError as error:
            if stamps != self._seen:
                self._told = False
            if not self._told and (finished or stamps == self._seen):
                self._told = True
                log.error("the certificate has changed and cannot be used: the former stays", error=str(error))
            self._seen = stamps
        else:
            self._loaded, self._told = stamps, False
            log.info("the certificate was read again", certificate=self._settings.cert)


def tls_of(settings: TlsSettings) -> Tls | None:
    """None where the registry speaks plain HTTP. Raises StartupError where the files cannot be used."""
    return Tls(settings) if settings.is_on else None


def context_of(settings: TlsSettings) -> ssl.SSLContext:
    """A context of the server's side from the files. Raises StartupError with one line that names setting and file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # the clients of registries do not resume sessions, and a client's certificate is seen anew
    valid_until = _end_of_certificate(settings)
    _load_pair(context, settings)
    if settings.client_ca:
        _load_client_ca(context, settings.client_ca)
    if valid_until < datetime.now(UTC):
        until = valid_until.isoformat(" ", "minutes")
        log.warning("the certificate has expired: clients will refuse it", certificate=settings.cert, valid_until=until)
    return context


def _end_of_certificate(settings: TlsSettings) -> datetime:
    from cryptography import x509  # takes long to import

    text = _read("tls.cert", settings.cert)
    try:
        return x509.load_pem_x509_certificate(text).not_valid_after_utc
    except ValueError:
        raise StartupError(f"tls.cert: {settings.cert} has no certificate in PEM") from None


def _load_pair(context: ssl.SSLContext, settings: TlsSettings) -> None:
    key = _read("tls.key", settings.key)
    if b"ENCRYPTED" in key:
        raise StartupError(
            f"tls.key: {settings.key} is encrypted; write it without a password: openssl pkey -in … -out …"
        )
    if b"PRIVATE KEY-----" not in key:
        raise StartupError(f"tls.key: {settings.key} has no private key in PEM")
    try:
        # without a password OpenSSL would ask the terminal for one
        context.load_cert_chain(settings.cert, settings.key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason in _NO_FIT:
            raise StartupError(
                f"tls.key: {settings.key} does not fit the certificate {settings.cert}; "
                "the server's certificate comes first in its file"
            ) from None
        raise StartupError(
            f"tls.key: {settings.key} and tls.cert: {settings.cert} cannot be used: {_said(error)}"
        ) from None
    except OSError as error:
        raise StartupError(f"tls.key: {settings.key} cannot be read: {error.strerror}") from None


def _load_client_ca(context: ssl.SSLContext, file: str) -> None:
    text = _read("tls.client_ca", file)
    try:
        context.load_verify_locations(cadata=text.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise StartupError(f"tls.client_ca: {file} has no certificate in PEM") from None
    # a client without one may have a token; an authority that is listed is trusted though its issuer is not
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _read(setting: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise StartupError(f"{setting}: {file} cannot be read: {error.strerror}") from None


def _said(error: ssl.SSLError) -> str:
    return (error.reason or "unknown error").replace("_", " ").lower()


def _stamps(settings: TlsSettings) -> _Stamps:
    """What tells one state of the files from the next; None for a file that is not there."""
    return tuple(_stamp(file) for file in (settings.cert, settings.key, settings.client_ca))


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - an empty path is no directory here
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
