"""Which parts the settings choose, as far as the parts themselves do not show it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.domain.clock import system_clock
from registry.storage.files import DataDirectory
from registry.storage.s3.settings import StoreSettings
from registry.storage.stores import chosen
from tests.unit.storage.cache.caches import Counts

NOWHERE = StoreSettings("bucket", "http://127.0.0.1:1", access_key="key", secret_key="secret")


def test_only_those_who_serve_clear_the_cache(tmp_path: Path) -> None:
    """A command beside a node, or a move within it, names no size of the cache and leaves it alone."""
    directory = DataDirectory(tmp_path, 0)
    cached = tmp_path / "cache" / f"sha256-{'0' * 64}"
    cached.parent.mkdir()
    cached.write_bytes(b"content")
    with ThreadPoolExecutor(1) as executor:
        chosen(NOWHERE, True, executor, "boot", system_clock).blobs(directory, lambda: None)
    assert cached.exists()
    with ThreadPoolExecutor(1) as executor:
        chosen(NOWHERE, True, executor, "boot", system_clock).served_blobs(directory, 0, lambda: None, Counts())
    assert not cached.exists()
