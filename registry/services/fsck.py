"""Checking that nothing is lost or damaged: metadata against bytes, and the journal against its chain of hashes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from registry.domain import events
from registry.domain.digest import Digest
from registry.errors import RegistryError, StorageFailure, StoreRefused
from registry.ports import Inventory, StoredBlob, StoredBytes

_AT_ONCE = 16
_EVENTS = 200

_PUSH_AGAIN = "push an image with this blob again: a push heals it"
_ASK = "restore the database from a backup, or import from a copy; keep this one for whoever looks into it"


class Kind(StrEnum):
    """What can be wrong."""

    BYTES_MISSING = "bytes missing"
    BYTES_SIZE = "wrong size"
    BYTES_DAMAGED = "bytes damaged"
    FILE_UNNEEDED = "file without a row"
    LINK_LOST = "link to a missing blob"
    PART_LOST = "part of a manifest missing"
    TAG_LOST = "tag of a missing manifest"
    MANIFEST_DAMAGED = "manifest damaged"
    JOURNAL = "journal broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to do about it. `repositories`: some of those that are concerned."""

    kind: Kind
    what: str
    detail: str
    advice: str
    repositories: tuple[str, ...] = ()
    repaired: bool = False


@dataclass(slots=True)
class Findings:
    """All that was found, and how much was looked at; `expected` is how many blobs there are to look at."""

    expected: int = 0
    blobs: int = 0
    files: int = 0
    manifests: int = 0
    events: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return all(finding.repaired for finding in self.findings)

    def to_json(self) -> dict[str, object]:
        checked = {name: getattr(self, name) for name in ("blobs", "files", "manifests", "events")}
        return {"checked": checked, "findings": [asdict(finding) for finding in self.findings], "clean": self.clean}


class Checker:
    """Reads everything and changes nothing, unless it is told to repair."""

    def __init__(self, inventory: Inventory, stored: StoredBytes, findings: Findings) -> None:
        self._inventory = inventory
        self._stored = stored
        self._findings = findings
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, *, deep: bool, repair: bool) -> None:
        """`deep`: read every blob and compare it with its digest. `repair`: remove files that nothing needs.

        Raises StorageFailure, StoreRefused, Unavailable where the database or the store cannot be read at all.
        """
        self._findings.expected = await self._inventory.count()
        await self._check_journal()
        await self._check_manifests()
        await self._check_rows()
        async for blobs in self._inventory.blobs():
            await asyncio.gather(*(self._check_blob(blob, deep) for blob in blobs))
        await self._check_files(repair)

    def _found(self, kind: Kind, what: str, detail: str, advice: str, *repositories: str) -> None:
        self._findings.findings.append(Finding(kind, what, detail, advice, repositories))

    async def _check_journal(self) -> None:
        end = await self._end_of_chain()
        if end is None:
            return
        head = await self._inventory.head()
        if head[0] != end[0]:
            self._found(Kind.JOURNAL, "head", f"it names event {head[0]}, the last one is {end[0]}", _ASK)
        elif head != end:
            self._found(Kind.JOURNAL, "head", "its chain is not that of the last event", _ASK)

    async def _end_of_chain(self) -> tuple[int, bytes] | None:
        """The serial and the chain of the last event, which all others lead to; None where the journal is broken."""
        serial, chain = await self._inventory.journal_base()
        while page := await self._inventory.events(serial, _EVENTS):
            for event in page:
                if event.serial != serial + 1:
                    lost = f"the events {serial + 1} to {event.serial - 1} are missing"
                    self._found(Kind.JOURNAL, f"event {serial + 1}", lost, _ASK)
                    return None
                if not events.verify(chain, event):
                    changed = "it does not follow from the one before: one of the two was changed"
                    self._found(Kind.JOURNAL, f"event {event.serial}", changed, _ASK, event.repository)
                    return None
                chain, serial = event.chain, event.serial
                self._findings.events += 1
        return serial, chain

    async def _check_manifests(self) -> None:
        async for repository, manifest in self._inventory.manifests():
            self._findings.manifests += 1
            digest = Digest.parse(manifest.digest)
            if Digest.of(manifest.content, digest.algorithm) != digest:
                advice = "delete it by its digest and push the image again"
                self._found(Kind.MANIFEST_DAMAGED, manifest.digest, "other bytes", advice, repository)

    async def _check_rows(self) -> None:
        async for row in self._inventory.dangling_links():
            self._found(Kind.LINK_LOST, row.name, "the blob has no row", _PUSH_AGAIN, row.repository)
        async for row in self._inventory.dangling_parts():
            advice = "push the image again, or delete the manifest"
            self._found(Kind.PART_LOST, row.name, f"it needs {row.target}", advice, row.repository)
        async for row in self._inventory.dangling_tags():
            advice = "push the tag again, or delete it"
            self._found(Kind.TAG_LOST, row.name, f"it points at {row.target}", advice, row.repository)

    async def _check_blob(self, blob: StoredBlob, deep: bool) -> None:
        async with self._slots:
            self._findings.blobs += 1
            wrong = await self._wrong_with(blob, deep)
            # Where nodes share a database, another node may have collected or replaced the blob while this looked.
            if wrong is None or await self._inventory.stored(str(blob.digest)) != blob:
                return
            repositories = await self._inventory.repositories_with(str(blob.digest))
            self._found(wrong[0], str(blob.digest), wrong[1], _PUSH_AGAIN, *repositories)

    async def _wrong_with(self, blob: StoredBlob, deep: bool) -> tuple[Kind, str] | None:
        place = f"the object {blob.location}" if blob.location else "its file"
        try:
            size = await self._stored.size(blob)
            if size is None:
                return Kind.BYTES_MISSING, f"{place} is not there"
            if size != blob.size:
                return Kind.BYTES_SIZE, f"{place} has {size} bytes, its row says {blob.size}"
            if deep and await self._stored.digest(blob) != blob.digest:
                return Kind.BYTES_DAMAGED, f"{place} has other bytes"
        except StoreRefused:
            raise  # keys or rights are wrong, and no blob is damaged
        except StorageFailure as error:
            return Kind.BYTES_DAMAGED, f"{place} cannot be read: {error.detail.get('error', error.message)}"
        return None

    async def _check_files(self, repair: bool) -> None:
        under_way = await self._stored.under_way()
        async for files in self._stored.files():
            self._findings.files += len(files)
            for file in files:
                if file.digest not in under_way and not await self._is_needed(file.digest):
                    await self._unneeded(file, repair)

    async def _is_needed(self, digest: Digest) -> bool:
        """Whether a row names this file, or the collector knows already that it has to go."""
        row = await self._inventory.stored(str(digest))
        return (row is not None and row.location == "") or await self._inventory.is_garbage(str(digest))

    async def _unneeded(self, file: StoredBlob, repair: bool) -> None:
        advice = "fsck --repair removes it"
        finding = Finding(Kind.FILE_UNNEEDED, str(file.digest), f"{file.size} bytes that nothing needs", advice)
        if repair:
            try:
                await self._stored.remove(file.digest)
                finding = replace(finding, advice="removed", repaired=True)
            except RegistryError as error:
                finding = replace(finding, advice=f"it cannot be removed: {error.message}")
        self._findings.findings.append(finding)
