"""What a client of a bucket has to know."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from registry.errors import StartupError


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
    secret_key: str = ""
    sse: str = ""
    kms_key: str = ""
    proxy: str = ""

    def checked(self) -> StoreSettings:
        """These settings; raises StartupError where the endpoint is no address."""
        address = urlsplit(self.endpoint or "https://s3")
        if address.scheme not in ("http", "https") or not address.netloc:
            raise StartupError(
                f"storage.endpoint: {self.endpoint} is no address; write http://HOST:PORT or https://HOST"
            )
        return self

    def url(self, key: str = "") -> str:
        """The address of an object, or of the bucket where `key` is ""."""
        endpoint = urlsplit(self.endpoint or f"https://s3.{self.region}.amazonaws.com")
        path = quote(f"{self.prefix}{key}", safe="/-_.~") if key else ""
        if self.path_style:
            return f"{endpoint.scheme}://{endpoint.netloc}/{self.bucket}/{path}".rstrip("/")
        return f"{endpoint.scheme}://{self.bucket}.{endpoint.netloc}/{path}"
