"""Changing what a repository lists: manifests, tags, and links to blobs."""

from __future__ import annotations

from registry.domain import manifest as manifests
from registry.domain.changes import DeleteBlob, DeleteManifest, DeleteTag, PutManifest
from registry.domain.digest import DEFAULT_ALGORITHM, Digest
from registry.domain.manifest import Manifest
from registry.domain.names import Reference
from registry.domain.upload import check_digest
from registry.ports import Changes


class ManifestService:
    """OCI distribution specification, "Pushing Manifests" and "Content Management"."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def put(
        self, repository: str, reference: Reference, tags: tuple[str, ...], content: bytes, content_type: str | None
    ) -> Manifest:
        """Store a manifest under its digest and point at it the tag `reference`, or `tags`.

        Raises ManifestInvalid, ManifestBlobUnknown, and DigestInvalid where `reference` is a digest
        that the bytes do not have.
        """
        by_digest = isinstance(reference, Digest)
        algorithm = reference.algorithm if isinstance(reference, Digest) else DEFAULT_ALGORITHM
        manifest = manifests.parse(content, content_type, algorithm)
        if isinstance(reference, Digest):
            check_digest(reference, manifest.digest)
        named = tags if by_digest else (str(reference), *tags)
        await self._changes.submit(PutManifest(repository, manifest, tuple(dict.fromkeys(named))))
        return manifest

    async def delete(self, repository: str, reference: Reference) -> None:
        """Delete a tag, or a manifest with every tag of it; raises ManifestUnknown."""
        if isinstance(reference, Digest):
            await self._changes.submit(DeleteManifest(repository, str(reference)))
        else:
            await self._changes.submit(DeleteTag(repository, reference))

    async def delete_blob(self, repository: str, digest: Digest) -> None:
        """Raises BlobUnknown, and BlobInUse while a manifest of the repository needs the blob."""
        await self._changes.submit(DeleteBlob(repository, str(digest)))
