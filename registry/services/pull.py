"""Pulling: manifests by tag or digest, and blobs."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from registry.domain.changes import KeepBlob
from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.domain.manifest import IMAGE_TYPES, INDEX_TYPES, default_platform
from registry.domain.names import Reference
from registry.errors import BlobUnknown, ManifestUnknown
from registry.ports import BlobFile, BlobStore, BlobStream, Changes, MetadataReader, StoredBlob, StoredManifest
from registry.ports.above import ReadThrough
from registry.services.opening import open_stored
from registry.services.signed_pull import SignatureGate

log = structlog.get_logger(__name__)


class PullService:
    """OCI distribution specification, "Pull". `grace`: seconds that a blob which no manifest needs is kept.

    `gate`: what images have to pass, where some repositories serve only those that are signed. `above`: where a slave
    looks by digest for what it has not got yet; what it raises (UpstreamFailed) is raised here too.
    """

    def __init__(
        self,
        reader: MetadataReader,
        blobs: BlobStore,
        changes: Changes,
        clock: Clock,
        grace: float,
        gate: SignatureGate | None = None,
        above: ReadThrough | None = None,
    ) -> None:
        self._reader = reader
        self._blobs = blobs
        self._changes = changes
        self._clock = clock
        self._grace = grace
        self._gate = gate
        self._above = above

    async def manifest(self, repository: str, reference: Reference, *, unsigned: bool = False) -> StoredManifest:
        """Raises ManifestUnknown, and Denied where the repository asks for a signature that is not there.

        `unsigned`: serve it all the same, as to those who push and sign: they have to read what they sign.
        """
        if isinstance(reference, Digest):
            found = await self._reader.manifest_by_digest(repository, str(reference))
            if found is None and self._above is not None:
                found = await self._above.manifest(repository, reference)
        else:
            found = await self._reader.manifest_by_tag(repository, reference)
        if found is None:
            raise ManifestUnknown(
                "no such manifest in this repository", {"name": repository, "reference": str(reference)}
            )
        if self._gate is not None and not unsigned:
            await self._gate.check(repository, found)
        return found

    async def for_client(
        self, repository: str, manifest: StoredManifest, accepted: Collection[str], *, unsigned: bool = False
    ) -> StoredManifest:
        """What a client is served that asked for a tag and got an index.

        One that names the types it accepts, images but no index, is of the time before indexes: it
        gets the linux/amd64 image. Raises Denied, and `unsigned`, as of `manifest`.
        """
        if manifest.media_type not in INDEX_TYPES or not accepted or {manifest.media_type, "*/*"} & set(accepted):
            return manifest
        if not set(IMAGE_TYPES) & set(accepted) or {*INDEX_TYPES, "application/*"} & set(accepted):
            return manifest
        digest = default_platform(manifest.content)
        image = await self._reader.manifest_by_digest(repository, digest) if digest else None
        if image is not None and self._gate is not None and not unsigned:
            await self._gate.check(repository, image)  # an index that needs no signature may list one that does
        return image or manifest

    async def blob_size(self, repository: str, digest: Digest) -> int:
        """The size of a blob whose bytes are there; raises BlobUnknown.

        A file of another size counts as absent, so that a client which asks before it pushes heals it.
        """
        link = await self._reader.blob(repository, str(digest))
        if link is None and self._above is not None:
            return await self._above.size(repository, digest)
        if link is None or not await self._blobs.intact(StoredBlob(digest, link.size, link.location)):
            raise _unknown(digest)
        if link.unneeded_since is not None and self._clock() - link.unneeded_since > self._grace / 2:
            # The client will count on this blob in the manifest that it pushes next.
            await self._changes.submit(KeepBlob(repository, str(digest)))
        return link.size

    async def blob(self, repository: str, digest: Digest) -> StoredBlob:
        """Where the bytes of a blob of this repository are; raises BlobUnknown."""
        link = await self._reader.blob(repository, str(digest))
        if link is None:
            raise _unknown(digest)
        return StoredBlob(digest, link.size, link.location)

    async def blob_url(self, repository: str, digest: Digest) -> str | None:
        """Where a client can fetch a blob by itself, if it can; raises BlobUnknown."""
        if self._above is not None and await self._reader.blob(repository, str(digest)) is None:
            return None  # it may come when it is opened
        return await self._blobs.url(await self.blob(repository, digest))

    async def open_blob(self, repository: str, digest: Digest) -> BlobFile | BlobStream:
        """The bytes of a blob, `size` as it was pushed; raises BlobUnknown, StorageFailure, Unavailable."""
        if self._above is not None and await self._reader.blob(repository, str(digest)) is None:
            return await self._above.open(repository, digest)
        blob = await self.blob(repository, digest)
        try:
            return await open_stored(self._reader, self._blobs, blob)
        except BlobUnknown:
            log.error("blob is damaged: its bytes are missing", repository=repository, digest=str(digest))
            raise


def _unknown(digest: Digest) -> BlobUnknown:
    return BlobUnknown("no such blob in this repository", {"digest": str(digest)})
