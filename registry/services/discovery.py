"""Finding content: tags, repositories, referrers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.domain.manifest import fallback_descriptors
from registry.domain.names import referrers_tag
from registry.errors import NameUnknown
from registry.ports import MetadataReader, Page

MAX_PAGE = 10_000
MAX_REFERRERS_PAGE = 1_000
_NAMES_AT_ONCE = 1_000
"""Where names are hidden: the reads of a short page neither tell how many these are, nor are as many as they."""


class DiscoveryService:
    """OCI distribution specification, "Content Discovery"."""

    def __init__(self, reader: MetadataReader) -> None:
        self._reader = reader

    async def tags(self, repository: str, after: str, limit: int | None) -> Page[str]:
        """Tags after `after`, in bytewise order; raises NameUnknown."""
        if not await self._reader.repository_exists(repository):
            raise NameUnknown("no such repository", {"name": repository})
        size = _page_size(limit, MAX_PAGE)
        return _page(await self._reader.tags(repository, after, size + 1) if size else (), size)

    async def repositories(
        self, after: str, limit: int | None, visible: Callable[[str], bool] | None = None
    ) -> Page[str]:
        """Repositories after `after` that are `visible` (None: all); others leave no trace, not even a shorter page."""
        size = _page_size(limit, MAX_PAGE)
        at_once = size + 1 if visible is None else max(size + 1, _NAMES_AT_ONCE)
        found: list[str] = []
        while size and len(found) <= size:
            names = await self._reader.repositories(after, at_once)
            found += filter(visible or (lambda _: True), names)
            if len(names) < at_once:
                break
            after = names[-1]
        return _page(found[: size + 1], size)

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: str, limit: int | None
    ) -> Page[Descriptor]:
        """Manifests that name `subject`, in order of digest; an empty page where nothing is known."""
        size = _page_size(limit, MAX_REFERRERS_PAGE)
        if not size:
            return Page((), more=False)
        indexed = await self._reader.referrers(repository, str(subject), artifact_type, after, size)
        last = indexed.entries[-1].digest if indexed.more else None
        merged = {
            entry.digest: entry
            for entry in await self._listed_by_clients(repository, subject)
            if entry.digest > after and (last is None or entry.digest < last) and _matches(entry, artifact_type)
        }
        merged |= {entry.digest: entry for entry in indexed.entries}
        entries = sorted(merged.values(), key=lambda entry: entry.digest)
        return Page(entries[:size], more=indexed.more or len(entries) > size)

    async def _listed_by_clients(self, repository: str, subject: Digest) -> list[Descriptor]:
        """What clients of registries without this API kept under the referrers tag, where it still exists here."""
        index = await self._reader.manifest_by_tag(repository, referrers_tag(subject))
        if index is None:
            return []
        entries = fallback_descriptors(index.content)
        known = await self._reader.subjects(repository, [entry.digest for entry in entries])
        return [entry for entry in entries if known.get(entry.digest, "absent") in (None, str(subject))]


def _matches(entry: Descriptor, artifact_type: str | None) -> bool:
    return artifact_type is None or entry.artifact_type == artifact_type


def _page_size(limit: int | None, maximum: int) -> int:
    return maximum if limit is None else min(limit, maximum)


def _page(entries: Sequence[str], size: int) -> Page[str]:
    return Page(entries[:size], more=len(entries) > size)
