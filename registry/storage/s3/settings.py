"""What a client of a bucket has to know."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from registry.errors import StartupError
from registry.values import without_password

_LONGEST_PREFIX = 256  # a key may have 1,024 bytes


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How to reach a bucket. `endpoint` "" is Amazon's own; without keys the usual boto3 chain finds them.

    `prefix` comes before every key; `ca_file` and `proxy` are for reaching the endpoint.
    """

    bucket: str
    endpoint: str = ""
    region: str = "us-east-1"
    path_style: bool = True
    prefix: str = ""
    ca_file: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    sse: str = ""
    kms_key: str = ""
    proxy: str = ""

    def checked(self) -> StoreSettings:
        """These settings; raises StartupError where one of them cannot be used."""
        if not _is_address(self.endpoint or "https://s3", "http", "https") or "@" in self.endpoint:
            raise StartupError(
                f"storage.endpoint: {without_password(self.endpoint)} is no address; write http://HOST:PORT or https://HOST"
            )
        if not _is_address(self.proxy or "http://none", "http"):
            raise StartupError(
                f"storage.proxy: {without_password(self.proxy)} is no address of a proxy; write http://HOST:PORT"
            )
        folders = self.prefix.removesuffix("/").split("/") if self.prefix else []
        if {"", ".", ".."} & set(folders) or not self.prefix.isprintable() or len(self.prefix) > _LONGEST_PREFIX:
            raise StartupError(
                f"storage.prefix: {self.prefix[:50]!r} is none; write something like shoal/, which may be a folder"
            )
        for name, key in (("access_key", self.access_key), ("secret_key", self.secret_key)):
            if not key.isprintable() or key != key.strip():
                raise StartupError(f"storage.{name}: a space or the end of a line does not belong to it")
        if self.kms_key and self.sse != "aws:kms":
            raise StartupError('storage.kms_key: nothing is encrypted with it; it needs storage.sse = "aws:kms"')
        self.trust()
        return self

    def trust(self) -> ssl.SSLContext | bool:
        """What decides whether the certificate of the store is right; raises StartupError where it cannot be read."""
        if not self.ca_file:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            said = "it has no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise StartupError(f"storage.ca_file: {self.ca_file} cannot be used: {said}") from error

    def url(self, key: str = "") -> str:
        """The address of an object, or of the bucket where `key` is ""."""
        endpoint = urlsplit(self.endpoint or f"https://s3.{self.region}.amazonaws.com")
        path = quote(f"{self.prefix}{key}", safe="/-_.~") if key else ""
        if self.path_style:
            return f"{endpoint.scheme}://{endpoint.netloc}/{self.bucket}/{path}".rstrip("/")
        return f"{endpoint.scheme}://{self.bucket}.{endpoint.netloc}/{path}"


def _is_address(url: str, *schemes: str) -> bool:
    """A host and perhaps a port, and nothing behind them, which would be left out."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:  # of a port that is none
        return False
