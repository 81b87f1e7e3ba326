"""The storage of docker-registry in a bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from registry.errors import StartupError
from registry.imports.tree import ROOT, Readable
from registry.ports import StoredObject

_FORM = "expected s3://BUCKET/PREFIX?endpoint=URL&region=NAME; the endpoint is for stores that are not Amazon's"


class BucketTree:
    """TreeFiles below a prefix. Keys come from where boto3 finds them: AWS_ACCESS_KEY_ID, a profile, the machine."""

    def __init__(self, url: str, connections: int) -> None:
        """`url`: as _FORM says; the prefix is the `rootdirectory` of docker-registry. Raises StartupError."""
        parts = urlsplit(url)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.scheme != "s3" or not parts.netloc or query.keys() - {"endpoint", "region"}:
            raise StartupError(f"{url}: {_FORM}")
        self._bucket = parts.netloc
        self._endpoint = query.get("endpoint", "")
        self._root = f"{parts.path.strip('/')}/{ROOT}/".lstrip("/")
        style = {"s3": {"addressing_style": "path"}} if "endpoint" in query else {}
        try:
            self._client: Any = boto3.client(
                "s3",
                endpoint_url=query.get("endpoint"),
                region_name=query.get("region") or "us-east-1",
                config=Config(max_pool_connections=connections, retries={"max_attempts": 5}, **style),
            )
            if not self.folders(""):
                raise StartupError(f"{url} holds no storage of docker-registry ({self._root} is empty); {_FORM}")
        except (OSError, ValueError, BotoCoreError) as error:
            raise StartupError(f"{url} cannot be read: {error}") from error

    def folders(self, path: str) -> Sequence[str]:
        prefix = f"{self._root}{path}/".replace("//", "/") if path else self._root
        pages = self._client.get_paginator("list_objects_v2")
        try:
            return [
                entry["Prefix"].removeprefix(prefix).rstrip("/")
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
                for entry in page.get("CommonPrefixes", ())
            ]
        except (ClientError, BotoCoreError) as error:
            raise _as_os_error(error) from error

    def holds_files(self, path: str) -> bool:
        try:
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._root}{path}/", MaxKeys=1)
        except (ClientError, BotoCoreError) as error:
            raise _as_os_error(error) from error
        return bool(found.get("Contents"))

    def exists(self, path: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._root + path)
        except (ClientError, BotoCoreError) as error:
            translated = _as_os_error(error)
            if isinstance(translated, FileNotFoundError):
                return False
            raise translated from error
        return True

    def open(self, path: str) -> Readable:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._root + path)
        except (ClientError, BotoCoreError) as error:
            raise _as_os_error(error) from error
        return _Body(answer["Body"])

    def original(self, path: str) -> StoredObject:
        return StoredObject(self._endpoint, self._bucket, self._root + path)


class _Body:
    """Readable over boto's body, with errors told as those of a file."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1, /) -> bytes:
        try:
            return cast("bytes", self._body.read(size if size >= 0 else None))
        except BotoCoreError as error:
            raise _as_os_error(error) from error

    def close(self) -> None:
        self._body.close()


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
        return FileNotFoundError(str(error))
    return OSError(str(error))
