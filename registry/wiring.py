"""What the settings choose for every process that works on the data, serving or not: its database, its stores."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from registry.config import Settings, StorageSettings
from registry.domain.clock import system_clock
from registry.errors import StartupError
from registry.ports import MoveReader, SignaturePolicies
from registry.signatures.configured import ConfiguredPolicies
from registry.storage import stores
from registry.storage.metadata import databases
from registry.storage.metadata.databases import Database
from registry.storage.s3.settings import StoreSettings

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_of_machine() -> str:
    """Another text after each start of the machine."""
    return _BOOT_ID.read_text().strip()


def database_of(settings: Settings) -> Database:
    """Where the metadata is."""
    return databases.chosen(settings.database.url, settings.data)


def bucket(storage: StorageSettings) -> StoreSettings | None:
    """The bucket that blobs are in, new ones or those of before; None where all are files."""
    if not storage.bucket:
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


async def refuse_unnamed_bucket(storage: StorageSettings, reader: MoveReader) -> None:
    """Raises StartupError where blobs lie in a bucket and the settings name none: those of before a move, perhaps."""
    if not storage.bucket and await reader.misplaced(False, ""):
        raise StartupError("blobs lie in a bucket, and [storage] names none: give --config with the settings that do")


def stores_of(storage: StorageSettings, executor: Executor) -> stores.Stores:
    """Where blobs are and go. Raises StartupError."""
    return stores.chosen(bucket(storage), storage.kind == "s3", executor, boot_of_machine(), system_clock)


def policies_of(settings: Settings) -> SignaturePolicies | None:
    """Which repositories serve only signed images; None where all serve everything."""
    return ConfiguredPolicies(each.policy for each in settings.signatures) if settings.signatures else None
