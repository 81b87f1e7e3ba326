"""What a client of a bucket has to know."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from registry.errors import StartupError
from registry.values import without_password


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
        address = urlsplit(self.endpoint or "https://s3")
        if address.scheme not in ("http", "https") or not address.netloc:
            raise StartupError(
                f"storage.endpoint: {without_password(self.endpoint)} is no address; write http://HOST:PORT or https://HOST"
            )
        proxy = urlsplit(self.proxy or "http://none")
        if proxy.scheme != "http" or not proxy.netloc:
            raise StartupError(
                f"storage.proxy: {without_password(self.proxy)} is no address of a proxy; write http://HOST:PORT"
            )
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
