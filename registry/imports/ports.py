"""Where images come from and where they go, as protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.domain.digest import Digest
from registry.domain.manifest import Manifest
from registry.ports import Original

Body = AsyncIterator[Sequence[bytes]]
"""The bytes of a blob, in batches of chunks."""


class NotThereError(Exception):
    """The source names something that it does not have."""


class DamagedError(Exception):
    """The source has something that is not what its name says, or that cannot be read."""


class StoppedError(Exception):
    """Nothing more can be taken over for now; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest as the source has it; its bytes have the digest. `media_type`: None where only the bytes can tell."""

    digest: Digest
    media_type: str | None
    content: bytes


class Source(Protocol):
    """A registry that is taken over. Every method raises StoppedError where the whole source has gone away.

    What concerns one thing alone is told by NotThereError and DamagedError.
    """

    async def repositories(self) -> Sequence[str]: ...

    async def tags(self, repository: str) -> Sequence[str]: ...

    async def resolve(self, repository: str, tag: str) -> Digest | None:
        """The manifest that a tag points at; None where the tag was deleted."""
        ...

    async def revisions(self, repository: str) -> Sequence[Digest]:
        """Manifests of a repository whether or not a tag points at them, as far as the source can list them."""
        ...

    async def manifest(self, repository: str, digest: Digest) -> RawManifest: ...

    async def referrers(self, repository: str, digest: Digest) -> Sequence[Digest]:
        """Manifests that name this one as their subject, where `revisions` does not list them anyway."""
        ...

    async def original(self, digest: Digest) -> Original | None:
        """The file on this machine, or the object, that holds a blob; None where it is neither."""
        ...

    def read(self, repository: str, digest: Digest) -> Body:
        """The bytes of a blob. Whether they have the digest is for the reader to find out."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """How a blob came in, in bytes. `copied`: read and written here. `linked`: under a second name, or copied by the
    store itself.
    """

    copied: int = 0
    linked: int = 0


class Target(Protocol):
    """Where everything goes. Raises StoppedError where it takes nothing more."""

    async def has_blob(self, repository: str, digest: Digest) -> bool: ...

    async def put_blob(
        self, repository: str, digest: Digest, original: Original | None, read: Callable[[], Body]
    ) -> Taken:
        """Take a blob that has this digest; else raises DamagedError, and leaves nothing behind.

        Once this returns it is durable and visible. `original`: as of the source; `read` may be called again.
        """
        ...

    async def media_type(self, repository: str, digest: Digest) -> str | None:
        """Of a manifest that is there; None where it is not."""
        ...

    async def resolve(self, repository: str, tag: str) -> str | None:
        """The digest that a tag points at by now."""
        ...

    async def put_manifest(self, repository: str, manifest: Manifest, tags: Sequence[str]) -> None:
        """Raises DamagedError with the reason where it is refused."""
        ...

    async def close(self) -> None: ...
