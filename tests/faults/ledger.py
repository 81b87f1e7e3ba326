"""What clients were promised: the memory of a test that outlives the server it kills.

Every change is noted before it is sent, as something that may or may not come about, and again when
it was acknowledged. After a fault each key must have one of the values that are possible then.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.harness.client import RegistryClient
from tests.harness.content import Blob, digest_of

TagKey = tuple[str, str]
DigestKey = tuple[str, str]


@dataclass
class Session:
    """An upload that is not finished. `told` holds the offsets that the client may find."""

    repository: str
    location: str
    content: bytes
    told: set[int] = field(default_factory=lambda: {0})
    closing: bool = False
    """The last request was on its way: the session may be over."""


class Ledger:
    """Keys are (repository, tag) and (repository, digest); values are what may be found, None for nothing."""

    def __init__(self) -> None:
        self.tags: dict[TagKey, set[str | None]] = {}
        self.manifests: dict[DigestKey, set[bool]] = {}
        self.blobs: dict[DigestKey, set[bool]] = {}
        self.sessions: list[Session] = []
        self.contents: dict[str, bytes] = {}
        self.acknowledged = 0
        self._lock = threading.Lock()

    @contextmanager
    def tag(self, repository: str, tag: str, digest: str | None) -> Iterator[None]:
        """A request that points a tag at a manifest, or (None) deletes it."""
        with self._lock:
            found = self.tags.setdefault((repository, tag), {None})
            found.add(digest)
        yield
        with self._lock:
            self.acknowledged += 1
            self.tags[repository, tag] = {digest}

    @contextmanager
    def manifest(self, repository: str, manifest: Blob, *, there: bool = True) -> Iterator[None]:
        """A request that stores or deletes a manifest."""
        with self._lock:
            self.contents[manifest.digest] = manifest.content
            self.manifests.setdefault((repository, manifest.digest), {False}).add(there)
        yield
        with self._lock:
            self.acknowledged += 1
            self.manifests[repository, manifest.digest] = {there}

    @contextmanager
    def blob(self, repository: str, content: bytes, *, there: bool = True) -> Iterator[None]:
        """A request that makes a blob visible, or deletes it."""
        digest = digest_of(content)
        with self._lock:
            self.contents[digest] = content
            self.blobs.setdefault((repository, digest), {False}).add(there)
        yield
        with self._lock:
            self.acknowledged += 1
            self.blobs[repository, digest] = {there}

    def tags_of(self, repository: str, digest: str) -> list[str]:
        return [tag for (name, tag), found in self.tags.items() if name == repository and digest in found]

    def check(self, client: RegistryClient, only: str = "") -> None:
        """Compare with a server that runs (repositories that begin with `only`); what is found counts from now on."""
        for (repository, digest), blob in self.blobs.items():
            if repository.startswith(only):
                blob &= {self._check_blob(client, repository, digest, blob)}
        for (repository, digest), manifest in self.manifests.items():
            if repository.startswith(only):
                manifest &= {self._check_manifest(client, repository, digest, manifest)}
        for (repository, tag), values in self.tags.items():
            if repository.startswith(only):
                found = client.resolve(repository, tag)
                assert found in values, f"{repository}:{tag} is {found}, promised: {values}"
                values &= {found}

    def _check_blob(self, client: RegistryClient, repository: str, digest: str, promised: set[bool]) -> bool:
        there = client.has_blob(repository, digest)
        assert there in promised, f"blob {digest} of {repository}: {there=}, promised: {promised}"
        if there:
            assert client.blob(repository, digest) == self.contents[digest], f"blob {digest} has other bytes"
        return there

    def _check_manifest(self, client: RegistryClient, repository: str, digest: str, promised: set[bool]) -> bool:
        there = client.resolve(repository, digest) is not None
        assert there in promised, f"manifest {digest} of {repository}: {there=}, promised: {promised}"
        if there:
            assert client.manifest(repository, digest).content == self.contents[digest]
        return there

    def finish_sessions(self, client: RegistryClient, *, power_failed: bool = False) -> int:
        """Go on with every open upload from where the server says; returns how many there were.

        Where `power_failed`, the server may say less than it told before, and may not know the upload.
        """
        sessions, self.sessions = self.sessions, []
        for session in sessions:
            answer = client.request("GET", session.location, want=(204, 404))
            if answer.status_code == 404:
                assert session.closing or power_failed, f"an upload is lost: {session.location}, told {session.told}"
                continue
            offset = offset_of(answer.headers["Range"])
            if power_failed:
                assert offset <= max(session.told), f"offset {offset} is beyond what was told: {session.told}"
            else:
                assert offset in session.told, f"offset {offset}, told: {session.told}"
            content = session.content
            with self.blob(session.repository, content):
                middle = (offset + len(content)) // 2
                location = client.patch(session.location, content[offset:middle]) if middle > offset else None
                client.finish_upload(location or session.location, digest_of(content), content[middle:])
            assert client.blob(session.repository, digest_of(content)) == content
        return len(sessions)


def offset_of(header: str) -> int:
    """The offset that an upload's Range (0-last) stands for; 0-0 is an empty one, since no test sends one byte."""
    match = re.fullmatch(r"0-([0-9]+)", header)
    assert match, f"Range: {header}"
    return int(match[1]) + 1 if match[1] != "0" else 0


def check_whole(client: RegistryClient, needed: set[DigestKey]) -> None:
    """Every blob that a visible manifest needs can be pulled, byte for byte."""
    for repository, digest in sorted(needed):
        assert digest_of(client.blob(repository, digest), digest.partition(":")[0]) == digest
