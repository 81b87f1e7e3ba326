"""Content that the suites of metadata begin with."""

from __future__ import annotations

from registry.domain import manifest as manifests
from registry.domain.changes import (
    LinkBlob,
    Outcome,
    PutManifest,
)
from registry.domain.manifest import Manifest
from tests.contracts.adapters import Metadata
from tests.harness.content import Blob, Image

REPO = "library/one"
OTHER = "library/other"


def parsed(blob: Blob) -> Manifest:
    return manifests.parse(blob.content, blob.media_type, "sha256")


async def push_blobs(metadata: Metadata, repository: str, *blobs: Blob) -> None:
    for blob in blobs:
        await metadata.changes.submit(LinkBlob(repository, blob.digest, blob.size))


async def put(metadata: Metadata, repository: str, manifest: Blob, *tags: str) -> Outcome:
    return await metadata.changes.submit(PutManifest(repository, parsed(manifest), tags))


async def push(metadata: Metadata, repository: str, item: Image, *tags: str) -> None:
    await push_blobs(metadata, repository, *item.blobs)
    await put(metadata, repository, item.manifest, *tags)
