"""What the settings choose for every process that works on the data, serving or not."""

from __future__ import annotations

from pathlib import Path

from registry.config import StorageSettings
from registry.storage.s3.settings import StoreSettings

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_of_machine() -> str:
    """Another text after each start of the machine."""
    return _BOOT_ID.read_text().strip()


def bucket(storage: StorageSettings) -> StoreSettings | None:
    """The bucket that new blobs go to; None where they are files."""
    if storage.kind != "s3":
        return None
    return StoreSettings(
        storage.bucket,
        storage.endpoint,
        storage.region,
        storage.path_style,
        storage.prefix,
        storage.ca_file,
        storage.access_key,
        storage.secret_key.get_secret_value(),
        storage.sse,
        storage.kms_key,
        storage.proxy,
    )
