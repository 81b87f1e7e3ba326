"""What of a repository a slave may show: decided from what it was told and what it has; no I/O.

A state of the master is shown only where everything in it is here. States in between may be passed over: an image that
was pushed and deleted while the slave was away needs none of its blobs. They are never shown out of order.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from registry.domain import events
from registry.domain.changes import Show
from registry.domain.digest import Digest
from registry.domain.manifest import Manifest, RefKind, parse
from registry.domain.replica import Pending
from registry.errors import RegistryError


class UnreadableError(Exception):
    """A change that the slave was told of and cannot read: the text says which."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A pending change, read. `tags` are set to `digest`, or, where that is "", removed.

    `manifest`: what is put; `deletes`: whether the manifest `digest` goes.
    """

    number: int
    serial: int
    digest: str = ""
    manifest: Manifest | None = None
    tags: tuple[str, ...] = ()
    deletes: bool = False
    is_snapshot: bool = False

    @staticmethod
    def of(pending: Pending) -> Entry:
        """Raises UnreadableError."""
        try:
            return _read(pending)
        except (RegistryError, ValueError, KeyError, TypeError) as error:
            what = f"event {pending.serial} ({pending.kind}) of {pending.repository}"
            raise UnreadableError(f"{what} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob that has to come before something can be shown; `serial`: of the change that needs it first."""

    digest: str
    size: int
    serial: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`show`: the longest beginning of the changes that may be shown now, None where there is none."""

    show: Show | None
    wanted: tuple[Wanted, ...]


def needed_blobs(entries: Sequence[Entry]) -> set[str]:
    """All blobs that any of the changes needs."""
    return {digest for entry in entries if entry.manifest for digest in _blobs(entry.manifest)}


def targets(entries: Sequence[Entry]) -> set[str]:
    """All manifests that tags of the changes point at, or indexes list."""
    tagged = {entry.digest for entry in entries if entry.tags and entry.digest}
    return tagged | {digest for entry in entries if entry.manifest for digest in _children(entry.manifest)}


def plan(
    repository: str,
    entries: Sequence[Entry],
    blobs: Collection[str],
    manifests: Collection[str],
    settled: int = 0,
) -> Plan:
    """`blobs`: those of needed_blobs that the repository has; `manifests`: those of `targets` that it shows.

    `settled`: changes up to this serial are shown together, as a snapshot and the log overlap there.
    """
    folded, end = _Folded(blobs, manifests), 0
    for number, entry in enumerate(entries, 1):
        folded.add(entry)
        is_between = number < len(entries) and entries[number].serial <= settled
        if folded.is_complete and not is_between:
            end = number
    return Plan(_show(repository, entries[:end], blobs, manifests, settled) if end else None, folded.wanted())


def _show(
    repository: str, entries: Sequence[Entry], blobs: Collection[str], manifests: Collection[str], settled: int
) -> Show:
    folded = _Folded(blobs, manifests)
    for entry in entries:
        folded.add(entry)
    puts = tuple(entry.manifest for entry in folded.live.values() if entry.manifest)
    return Show(
        repository,
        entries[-1].number,
        puts,
        tuple(folded.tags.items()),
        tuple(folded.deleted),
        tuple(folded.forgiven(settled)),
        tuple(folded.renewed),
    )


@dataclass(slots=True)
class _Folded:
    """The outcome of several changes, one after the other, on top of what is shown."""

    blobs: Collection[str]
    manifests: Collection[str]
    live: dict[str, Entry] = field(default_factory=dict)
    deleted: dict[str, None] = field(default_factory=dict)
    renewed: dict[str, None] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    _tags_of: dict[str, set[str]] = field(default_factory=dict)
    _lacking: dict[str, list[str]] = field(default_factory=dict)
    _dangling: set[str] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        return not self._lacking and not self._dangling

    def add(self, entry: Entry) -> None:
        if entry.deletes:
            self._delete(entry.digest)
            return
        if entry.manifest is not None:
            self._put(entry, entry.manifest)
        for tag in entry.tags:
            self._tag(tag, entry.digest)

    def _put(self, entry: Entry, manifest: Manifest) -> None:
        self.live[entry.digest] = entry
        if entry.digest in self.deleted:  # tags that are shown and pointed at it went with it, and do not come again
            del self.deleted[entry.digest]
            self.renewed[entry.digest] = None
        lacking = [digest for digest in _blobs(manifest) if digest not in self.blobs]
        if lacking:
            self._lacking[entry.digest] = lacking
        self._dangling -= self._tags_of.get(entry.digest, set())

    def _delete(self, digest: str) -> None:
        self.live.pop(digest, None)
        self._lacking.pop(digest, None)
        self.deleted[digest] = None
        for tag in list(self._tags_of.get(digest, ())):
            self._tag(tag, "")

    def _tag(self, tag: str, digest: str) -> None:
        self._tags_of.get(self.tags.get(tag, ""), set()).discard(tag)
        self.tags[tag] = digest
        self._dangling.discard(tag)
        if digest:
            self._tags_of.setdefault(digest, set()).add(tag)
            if not self._is_there(digest):
                self._dangling.add(tag)

    def _is_there(self, digest: str) -> bool:
        return digest in self.live or (digest in self.manifests and digest not in self.deleted)

    def wanted(self) -> tuple[Wanted, ...]:
        """What is lacking, in the order in which it is needed; each blob once."""
        found: dict[str, Wanted] = {}
        for digest, lacking in self._lacking.items():
            entry = self.live[digest]
            sizes = _sizes(entry.manifest.content) if entry.manifest else {}
            for blob in lacking:
                found.setdefault(blob, Wanted(blob, sizes.get(blob, 0), entry.serial))
        return tuple(found.values())

    def forgiven(self, settled: int) -> list[str]:
        """What indexes list and is gone for good: images that were deleted since, or before the snapshot came."""
        found: dict[str, None] = {}
        for entry in self.live.values():
            for child in _children(entry.manifest) if entry.manifest else ():
                is_old = entry.is_snapshot or entry.serial <= settled
                if not self._is_there(child) and (is_old or child in self.deleted):
                    found[child] = None
        return list(found)


def _read(pending: Pending) -> Entry:
    fields = json.loads(pending.payload)
    common = pending.number, pending.serial
    match pending.kind:
        case events.MANIFEST_PUT:
            digest = Digest.parse(fields["digest"])
            manifest = parse(pending.content, fields["media_type"], digest.algorithm)
            if manifest.digest != digest:
                raise ValueError("its bytes do not have its digest")
            return Entry(*common, str(digest), manifest, tuple(fields["tags"]), is_snapshot=pending.is_snapshot)
        case events.MANIFEST_DELETE:
            return Entry(*common, fields["digest"], deletes=True, is_snapshot=pending.is_snapshot)
        case events.TAG_SET:
            return Entry(*common, fields["digest"], tags=(fields["tag"],), is_snapshot=pending.is_snapshot)
        case events.TAG_DELETE:
            return Entry(*common, tags=(fields["tag"],), is_snapshot=pending.is_snapshot)
    raise ValueError("its kind is not known: this slave is older than its master")


def _blobs(manifest: Manifest) -> list[str]:
    return [digest for digest, kind in manifest.refs if kind is RefKind.BLOB]


def _children(manifest: Manifest) -> list[str]:
    return [digest for digest, kind in manifest.refs if kind is RefKind.MANIFEST]


def _sizes(content: bytes) -> dict[str, int]:
    """The sizes that a manifest states; it was read before, so it is well formed."""
    document = json.loads(content)
    listed = [document.get("config"), *(document.get("layers") or ()), *(document.get("blobs") or ())]
    return {entry["digest"]: entry["size"] for entry in listed if isinstance(entry, dict)}
