"""Metadata in dictionaries: what the tables of `registry.storage.metadata` mean, without the SQL."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from registry.domain import access, changes, events, limits
from registry.domain.changes import Change, Outcome
from registry.domain.clock import Clock
from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.domain.events import JournalEvent
from registry.domain.manifest import Manifest, RefKind
from registry.domain.upload import Leftover, UploadSession, object_remains
from registry.errors import (
    BlobInUse,
    BlobUnknown,
    BlobUploadUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    UploadBusy,
)
from registry.ports import BlobLink, Page, StoredBlob, StoredManifest

_EPOCH = 1


@dataclass(slots=True)
class _Repository:
    """`links`: the blobs, and since when no manifest needs them (None while one does)."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    links: dict[str, float | None] = field(default_factory=dict)

    def needs(self, digest: str) -> bool:
        return any(target == digest for manifest in self.manifests.values() for target, _ in manifest.refs)

    def note_needs(self, digests: Iterable[str], now: float) -> None:
        """After the manifests changed: whether these blobs are needed now."""
        for digest in digests:
            if digest in self.links:
                self.links[digest] = None if self.needs(digest) else now


class MemoryMetadata:
    """MetadataReader, SessionReader, MoveReader, Journal and Changes in one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._repositories: defaultdict[str, _Repository] = defaultdict(_Repository)
        self._blobs: dict[str, StoredBlob] = {}
        self.sessions: dict[str, UploadSession] = {}
        self._leftovers: dict[Leftover, float] = {}
        self._garbage: set[str] = set()
        self._move = ""
        self._records: dict[tuple[str, str], tuple[str, str]] = {}
        self._journal: list[JournalEvent] = []
        self._append(events.EPOCH_BEGIN, "", {"id": secrets.token_hex(16)})

    # MetadataReader

    async def manifest_by_tag(self, repository: str, tag: str) -> StoredManifest | None:
        digest = self._look(repository).tags.get(tag)
        return None if digest is None else await self.manifest_by_digest(repository, digest)

    async def manifest_by_digest(self, repository: str, digest: str) -> StoredManifest | None:
        found = self._look(repository).manifests.get(digest)
        return StoredManifest(digest, found.media_type, found.content) if found else None

    async def blob(self, repository: str, digest: str) -> BlobLink | None:
        links = self._look(repository).links
        if digest not in links:
            return None
        blob = self._blobs[digest]
        return BlobLink(blob.size, links[digest], blob.location)

    async def repository_exists(self, repository: str) -> bool:
        return repository in self._repositories

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        return sorted(tag for tag in self._look(repository).tags if tag > after)[:limit]

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        return sorted(name for name, found in self._repositories.items() if found.manifests and name > after)[:limit]

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: str, limit: int
    ) -> Page[Descriptor]:
        found = [
            manifest.descriptor
            for digest, manifest in sorted(self._look(repository).manifests.items())
            if manifest.subject == subject and digest > after
        ]
        matching = [entry for entry in found if artifact_type is None or entry.artifact_type == artifact_type]
        return Page(matching[:limit], more=len(matching) > limit)

    async def subjects(self, repository: str, digests: Sequence[str]) -> dict[str, str | None]:
        manifests = self._look(repository).manifests
        return {digest: manifests[digest].subject for digest in digests if digest in manifests}

    async def indexes_with(self, repository: str, digest: str, limit: int) -> Sequence[str]:
        listing = (digest, RefKind.MANIFEST)
        found = [name for name, manifest in self._look(repository).manifests.items() if listing in manifest.refs]
        return sorted(found)[:limit]

    def revision(self, repository: str) -> int:
        return self._journal[-1].serial

    async def stored(self, digest: str) -> StoredBlob | None:
        return self._blobs.get(digest)

    async def garbage(self, after: str = "") -> Sequence[str]:
        return sorted(digest for digest in self._garbage if digest > after)

    async def check(self) -> None:
        """Memory can always be read."""

    # SessionReader

    async def upload(self, upload_id: str) -> UploadSession | None:
        return self.sessions.get(upload_id)

    async def idle_uploads(self, before: float) -> Sequence[UploadSession]:
        idle = [found for found in self.sessions.values() if max(found.last_byte, found.held_until) < before]
        return sorted(idle, key=lambda session: session.last_byte)

    async def uploading_repositories(self, since: float) -> frozenset[str]:
        found = self.sessions.values()
        return frozenset(session.repository for session in found if max(session.last_byte, session.held_until) >= since)

    async def leftovers(self, before: float) -> Sequence[Leftover]:
        old = [(since, left.key, left.multipart) for left, since in self._leftovers.items() if since < before]
        return [Leftover(key, multipart) for _, key, multipart in sorted(old)]

    # MoveReader

    async def move(self) -> str | None:
        return self._move or None

    async def misplaced(self, into_bucket: bool, after: str) -> Sequence[StoredBlob]:
        return [self._blobs[digest] for digest in sorted(self._misplaced(into_bucket)) if digest > after]

    async def misplaced_count(self, into_bucket: bool) -> int:
        return len(self._misplaced(into_bucket))

    def _misplaced(self, into_bucket: bool) -> list[str]:
        return [digest for digest, blob in self._blobs.items() if (blob.location == "") == into_bucket]

    # Journal

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        return [event for event in self._journal if event.serial > after][:limit]

    # AccessReader

    async def head(self) -> tuple[int, int]:
        return len(self._journal), 0

    async def records(self) -> Sequence[tuple[str, str, str]]:
        return [(kind, key, value) for (kind, key), (value, _) in sorted(self._records.items())]

    async def record_changes(self, after: int, limit: int) -> Sequence[tuple[str, str, str]]:
        found = [event for event in self._journal[after:] if event.kind.startswith(events.AUTH)]
        return [events.record_of(event.kind, event.payload) for event in found][:limit]

    async def private_key(self, key_id: str) -> str | None:
        return self._records.get((access.KEY, key_id), ("", None))[1]

    # Changes

    async def submit(self, change: Change) -> Outcome:
        match change:
            case changes.LinkBlob():
                return self._link_blob(change)
            case changes.MountBlob():
                return self._mount(change)
            case changes.KeepBlob():
                self._linked(change.repository, change.digest)
                self._link(change.repository, change.digest)
                return Outcome()
            case changes.DeleteBlob():
                return self._delete_blob(change)
            case changes.PutManifest():
                return self._put_manifest(change)
            case changes.DeleteTag():
                return self._delete_tag(change)
            case changes.DeleteManifest():
                return self._delete_manifest(change)
            case changes.CollectBlobs():
                return self._collect(change)
            case changes.ForgetGarbage():
                self._garbage.difference_update(change.digests)
                return Outcome()
            case changes.BeginUpload():
                self.sessions.setdefault(change.session.id, change.session)
                return Outcome()
            case changes.HoldUpload():
                return self._hold(change)
            case changes.SaveUpload():
                before = self._held(change.session.id, change.holder)
                if before.tail not in ("", change.session.tail):
                    self._leave_behind([Leftover(before.tail)])
                self.sessions[before.id] = change.session
                return Outcome()
            case changes.EndUpload():
                if change.upload not in self.sessions:
                    return Outcome(changed=False)
                self._leave_behind(self._held(change.upload, change.holder).leftovers())
                del self.sessions[change.upload]
                return Outcome()
            case changes.ForgetLeftovers():
                for leftover in change.leftovers:
                    self._leftovers.pop(leftover, None)
                return Outcome()
            case changes.PlanObject():
                self._leave_behind(object_remains(change.key))
                return Outcome()
            case changes.KeepPlan():
                kept = [leftover for leftover in object_remains(change.key) if leftover in self._leftovers]
                self._leftovers |= dict.fromkeys(kept, self._clock())
                return Outcome(changed=bool(kept))
            case changes.MoveBlob():
                return self._move_blob(change)
            case changes.NoteMove():
                if self._move != change.before:
                    return Outcome(changed=False)
                self._move = change.after
                return Outcome()
            case changes.SetRecord():
                return self._set_record(change)
            case _:
                raise TypeError(f"{type(change).__name__} is for slaves, which have no fake")

    def _look(self, repository: str) -> _Repository:
        """What is there to be read; looking at a repository does not make it."""
        return self._repositories.get(repository) or _Repository()

    def _linked(self, repository: str, digest: str) -> None:
        if digest not in self._look(repository).links:
            raise BlobUnknown("no such blob in this repository", {"digest": digest})

    def _limits(self, repository: str) -> list[limits.Limit]:
        known = [access.decode(kind, value) for (kind, _), (value, _) in self._records.items() if kind == access.LIMIT]
        return limits.of_repository((found for found in known if isinstance(found, limits.Limit)), repository)

    def _project(self, limit: limits.Limit) -> list[_Repository]:
        low, high = limits.range_of(limit.pattern)
        return [found for name, found in self._repositories.items() if low <= name < high]

    def _check_room(self, repository: str, digest: str, size: int) -> None:
        for limit in self._limits(repository):
            there = {blob for found in self._project(limit) for blob in found.links}
            if digest not in there:
                limits.check_bytes(limit, sum(self._blobs[blob].size for blob in there), size)

    def _check_tags(self, repository: str, moved: Sequence[str], new: Sequence[str]) -> None:
        found = self._limits(repository)
        limits.check_mutable(found, moved)
        for limit in found:
            limits.check_tags(limit, sum(len(place.tags) for place in self._project(limit)), len(new))

    def _link_blob(self, change: changes.LinkBlob) -> Outcome:
        self._check_room(change.repository, change.digest, change.size)
        before = self._blobs.get(change.digest)
        if change.upload and not (before and before.location == change.location):
            session = self._held(change.upload, change.holder)
            self._leave_behind(session.leftovers_beside(change.location))
            del self.sessions[session.id]
        self._blobs[change.digest] = StoredBlob(Digest.parse(change.digest), change.size, change.location)
        if before is not None and before.location != change.location:
            self._give_up(before)
        if change.location and not change.upload:
            for leftover in object_remains(change.location):
                self._leftovers.pop(leftover, None)
        if not change.location:
            self._garbage.discard(change.digest)
        return self._link(change.repository, change.digest)

    def _move_blob(self, change: changes.MoveBlob) -> Outcome:
        before = self._blobs.get(change.digest)
        if before is None or before.location != change.source:
            if before is None or before.location != change.target:
                self._give_up(StoredBlob(Digest.parse(change.digest), 0, change.target))
            return Outcome(changed=False)
        if change.target and not all(left in self._leftovers for left in object_remains(change.target)):
            self._leave_behind([Leftover(change.target)])
            return Outcome(changed=False)
        self._blobs[change.digest] = replace(before, location=change.target)
        self._garbage.discard(change.digest)
        for leftover in object_remains(change.target):
            self._leftovers.pop(leftover, None)
        self._give_up(before)
        return Outcome()

    def _give_up(self, blob: StoredBlob) -> None:
        if blob.location:
            self._leave_behind([Leftover(blob.location)])
        else:
            self._garbage.add(str(blob.digest))

    def _leave_behind(self, found: Iterable[Leftover]) -> None:
        for leftover in found:
            self._leftovers.setdefault(leftover, self._clock())

    def _hold(self, change: changes.HoldUpload) -> Outcome:
        session = self.sessions.get(change.upload)
        if session is None or session.repository != change.repository:
            raise _unknown(change.upload)
        if session.holder not in ("", change.holder) and session.held_until > change.now:
            raise UploadBusy("another request is writing to this upload", {"upload": change.upload})
        tails = session.tails
        if session.holder not in ("", change.holder):
            self._leave_behind([Leftover(session.next_tail)])
            tails += 1
        self.sessions[session.id] = replace(session, holder=change.holder, held_until=change.until, tails=tails)
        return Outcome()

    def _held(self, upload: str, holder: str) -> UploadSession:
        session = self.sessions.get(upload)
        if session is None or session.holder != holder:
            raise _unknown(upload)
        return session

    def _link(self, name: str, digest: str) -> Outcome:
        repository = self._repositories[name]
        is_new = digest not in repository.links
        repository.links[digest] = None if repository.needs(digest) else self._clock()
        return Outcome(changed=is_new)

    def _mount(self, change: changes.MountBlob) -> Outcome:
        places = [self._look(change.source)] if change.source is not None else self._repositories.values()
        if not any(change.digest in place.links for place in places):
            raise BlobUnknown("no such blob to mount", {"digest": change.digest, "from": change.source})
        self._check_room(change.repository, change.digest, self._blobs[change.digest].size)
        return self._link(change.repository, change.digest)

    def _delete_blob(self, change: changes.DeleteBlob) -> Outcome:
        self._linked(change.repository, change.digest)
        if self._look(change.repository).needs(change.digest):
            raise BlobInUse(
                "a manifest of this repository needs the blob: delete the manifest first", {"digest": change.digest}
            )
        return Outcome(digests=self._unlink(change.repository, change.digest))

    def _unlink(self, name: str, digest: str) -> tuple[str, ...]:
        """Take a blob from a repository; its digest is returned where that was the last one that had it."""
        del self._repositories[name].links[digest]
        if any(digest in repository.links for repository in self._repositories.values()):
            return ()
        self._give_up(self._blobs.pop(digest))
        return (digest,)

    def _collect(self, change: changes.CollectBlobs) -> Outcome:
        unneeded = [
            (name, digest)
            for name, repository in self._repositories.items()
            for digest, since in repository.links.items()
            if name not in change.spare and since is not None and since < change.before
        ][: change.limit]
        gone = [digest for name, blob in unneeded for digest in self._unlink(name, blob)]
        return Outcome(changed=bool(unneeded), digests=tuple(gone))

    def _put_manifest(self, change: changes.PutManifest) -> Outcome:
        manifest, digest = change.manifest, str(change.manifest.digest)
        self._check_references(change.repository, manifest)
        there = self._look(change.repository).tags
        moved = [tag for tag in change.tags if there.get(tag) != digest]
        new = [tag for tag in moved if tag not in there]
        self._check_tags(change.repository, [tag for tag in moved if tag in there], new)
        repository = self._repositories[change.repository]
        before = repository.manifests.get(digest)
        if before is not None and before.media_type != manifest.media_type:
            self._check_delete(change.repository, digest)
        repository.tags |= dict.fromkeys(moved, digest)
        if before is not None and before.media_type == manifest.media_type:
            for tag in moved:
                self._append(events.TAG_SET, change.repository, {"tag": tag, "digest": digest})
            return Outcome(changed=bool(moved))
        repository.manifests[digest] = manifest
        repository.note_needs(dict((before.refs if before else ()) + manifest.refs), self._clock())
        payload = {"digest": digest, "media_type": manifest.media_type, "tags": moved}
        self._append(events.MANIFEST_PUT, change.repository, payload, manifest.content)
        return Outcome()

    def _check_references(self, name: str, manifest: Manifest) -> None:
        there = self._look(name)
        for wanted, known in ((RefKind.BLOB, there.links.keys()), (RefKind.MANIFEST, there.manifests.keys())):
            missing = [target for target, kind in manifest.refs if kind is wanted and target not in known]
            if missing:
                raise ManifestBlobUnknown(
                    f"the manifest refers to a {wanted} that this repository does not have", {"digest": missing[0]}
                )

    def _delete_tag(self, change: changes.DeleteTag) -> Outcome:
        if change.tag in self._look(change.repository).tags:
            self._check_tags(change.repository, [change.tag], [])
        if self._look(change.repository).tags.pop(change.tag, None) is None:
            raise ManifestUnknown("no such tag in this repository", {"tag": change.tag})
        self._append(events.TAG_DELETE, change.repository, {"tag": change.tag})
        return Outcome()

    def _delete_manifest(self, change: changes.DeleteManifest) -> Outcome:
        repository = self._look(change.repository)
        if change.digest in repository.manifests:
            self._check_delete(change.repository, change.digest)
        removed = repository.manifests.pop(change.digest, None)
        if removed is None:
            raise ManifestUnknown("no such manifest in this repository", {"digest": change.digest})
        repository.tags = {tag: digest for tag, digest in repository.tags.items() if digest != change.digest}
        repository.note_needs(dict(removed.refs), self._clock())
        self._append(events.MANIFEST_DELETE, change.repository, {"digest": change.digest})
        return Outcome()

    def _check_delete(self, name: str, digest: str) -> None:
        repository = self._look(name)
        gone, before = {digest}, 0
        while len(gone) > before:
            before = len(gone)
            gone |= {at for at, manifest in repository.manifests.items() if gone & {to for to, _ in manifest.refs}}
        self._check_tags(name, [tag for tag, at in repository.tags.items() if at in gone], [])

    def _set_record(self, change: changes.SetRecord) -> Outcome:
        before = self._records.get((change.kind, change.key), ("", ""))[0]
        access.check_change(change, before, self._accounts)
        if before == change.value:
            return Outcome(changed=False)
        if change.value:
            self._records[change.kind, change.key] = change.value, change.private
        else:
            del self._records[change.kind, change.key]
        self._append(f"{events.AUTH}{change.kind}", "", {"key": change.key, "value": change.value})
        return Outcome()

    def _accounts(self) -> list[str]:
        return [value for (kind, _), (value, _) in self._records.items() if kind == access.ACCOUNT]

    def _append(self, kind: str, repository: str, payload: Mapping[str, object], content: bytes = b"") -> None:
        previous = self._journal[-1].chain if self._journal else events.CHAIN_START
        serial, now = len(self._journal) + 1, self._clock()
        document = json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()
        chain = events.link(previous, serial, _EPOCH, now, kind, repository, document, content)
        self._journal.append(JournalEvent(serial, _EPOCH, now, kind, repository, document, content, chain))


def _unknown(upload: str) -> BlobUploadUnknown:
    return BlobUploadUnknown("no such upload: it ended, was cancelled or expired", {"upload": upload[:64]})
