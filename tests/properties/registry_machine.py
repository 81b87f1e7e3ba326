"""A state machine that drives a real server over HTTP and keeps a simple model of what has to be there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urljoin

import requests
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import OCI_INDEX, OCI_MANIFEST, Blob, Json, digest_of, json_blob, random_bytes
from tests.harness.server import ShoalServer

CONTENTS = (b"", b"x", b'{"config": true}', b"ab" * 500, random_bytes(70_000), random_bytes(300_000, 1))
SUBJECTS = tuple(Blob(b"subject %d" % number, OCI_MANIFEST) for number in range(2))
ARTIFACT_TYPES = (None, "application/vnd.example.one", "application/vnd.example.two+json")
FORMS = ("put", "post", "patch", "chunks", "stream", "chunk and put")
OCTETS = {"Content-Type": "application/octet-stream"}
_EXAMPLES = itertools.count(1)

repositories = st.integers(0, 2)
contents = st.sampled_from(range(len(CONTENTS))).map(CONTENTS.__getitem__)
algorithms = st.sampled_from(["sha256", "sha512"])
tags = st.sampled_from(["latest", "v1", "V1", "a.b", "_"])
picks = st.integers(0, 1000)


@dataclass
class StoredItem:
    """A manifest as the model knows it; `refs`: the digests of its blobs."""

    manifest: Blob
    refs: frozenset[str] = frozenset()
    subject: str | None = None
    artifact_type: str | None = None


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, StoredItem] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def needs(self, digest: str) -> bool:
        return any(digest in item.refs for item in self.manifests.values())


@dataclass
class Session:
    repository: int
    location: str
    content: bytes = b""


class RegistryMachine(RuleBasedStateMachine):
    """Every example has repositories of its own on one server, which `machine_for` sets."""

    server: ClassVar[ShoalServer]

    def __init__(self) -> None:
        super().__init__()
        self.client = RegistryClient(self.server.url)
        self.prefix = f"example-{next(_EXAMPLES)}"
        self.model = [Repository() for _ in range(3)]
        self.sessions: list[Session] = []
        self.restarts = 0

    def name(self, repository: int) -> str:
        return f"{self.prefix}/{'abc'[repository]}"

    @initialize(filled=st.sampled_from([(0,), (0, 1)]))
    def fill(self, filled: tuple[int, ...]) -> None:
        """Some repositories begin with all blobs and an image, else few manifests would be taken at all."""
        for repository in filled:
            for content in CONTENTS:
                self.push_blob(repository, content, "sha256", "post")
            parts = [CONTENTS[repository], CONTENTS[3]]
            self.put_image(repository, parts, "sha256", SUBJECTS[0], None, ["latest", "v1"], by_tag=True)

    # Blobs

    @rule(repository=repositories, content=contents, algorithm=algorithms, form=st.sampled_from(FORMS))
    def push_blob(self, repository: int, content: bytes, algorithm: str, form: str) -> None:
        name, digest, half = self.name(repository), digest_of(content, algorithm), len(content) // 2
        if form == "post":
            path = f"/v2/{name}/blobs/uploads/"
            self.client.request("POST", path, params={"digest": digest}, data=content, headers=OCTETS, want=201)
        else:
            location = self.client.start_upload(name, **{"digest-algorithm": algorithm})
            rest = b""
            if form == "put":
                rest = content
            elif form == "patch":
                location = self.client.patch(location, content)
            elif form == "stream":
                location = self.client.patch(location, iter([content[:half], content[half:]]))
            else:
                if half:
                    location = self.client.patch(location, content[:half], **{"Content-Range": f"0-{half - 1}"})
                rest = content[half:]
                if form == "chunks" and rest:
                    last = len(content) - 1
                    location = self.client.patch(location, rest, **{"Content-Range": f"{half}-{last}"})
                    rest = b""
            self.client.finish_upload(location, digest, rest)
        self.model[repository].blobs[digest] = content

    @rule(repository=repositories, content=contents, other=contents, algorithm=algorithms)
    def push_blob_with_a_wrong_digest(self, repository: int, content: bytes, other: bytes, algorithm: str) -> None:
        if content == other:
            return
        name = self.name(repository)
        params = {"digest": digest_of(other, algorithm)}
        if content:
            path = f"/v2/{name}/blobs/uploads/"
            refused = self.client.request("POST", path, params=params, data=content, headers=OCTETS, want=400)
        else:
            refused = self.client.request("PUT", self.client.start_upload(name), params=params, want=400)
        assert error_code(refused) == "DIGEST_INVALID"

    @rule(repository=repositories)
    def begin_upload(self, repository: int) -> None:
        self.sessions.append(Session(repository, self.client.start_upload(self.name(repository))))

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, content=contents, in_order=st.booleans())
    def append(self, pick: int, content: bytes, in_order: bool) -> None:
        session = self.sessions[pick % len(self.sessions)]
        start = len(session.content) + (0 if in_order else 1)
        headers = {**OCTETS, "Content-Range": f"{start}-{start + max(len(content), 1) - 1}"}
        want = 202 if in_order or not content else 416
        answer = self.client.request("PATCH", session.location, data=content, headers=headers, want=want)
        if in_order:
            session.content += content
            session.location = urljoin(self.server.url, answer.headers["Location"])
        self.check_session(session)

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, algorithm=algorithms, wrong=st.booleans())
    def finish(self, pick: int, algorithm: str, wrong: bool) -> None:
        session = self.sessions[pick % len(self.sessions)]
        digest = digest_of(session.content, algorithm)
        if wrong:
            params = {"digest": digest_of(session.content + b"!", algorithm)}
            self.client.request("PUT", session.location, params=params, want=400)
            self.check_session(session)
            return
        self.client.finish_upload(session.location, digest)
        self.model[session.repository].blobs[digest] = session.content
        self.sessions.remove(session)
        self.client.request("GET", session.location, want=404)

    @precondition(lambda self: self.sessions)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        session = self.sessions.pop(pick % len(self.sessions))
        self.client.request("DELETE", session.location, want=204)
        self.client.request("GET", session.location, want=404)

    @rule(repository=repositories, source=repositories, content=contents, algorithm=algorithms)
    def mount(self, repository: int, source: int, content: bytes, algorithm: str) -> None:
        digest = digest_of(content, algorithm)
        there = digest in self.model[source].blobs
        assert self.client.mount(self.name(repository), digest, self.name(source)) == there
        if there:
            self.model[repository].blobs[digest] = content

    @rule(repository=repositories, content=contents, algorithm=algorithms, start=st.integers(0, 400_000), length=picks)
    def read_a_range(self, repository: int, content: bytes, algorithm: str, start: int, length: int) -> None:
        path = f"/v2/{self.name(repository)}/blobs/{digest_of(content, algorithm)}"
        headers = {"Range": f"bytes={start}-{start + length}"}
        answer = self.client.request("GET", path, headers=headers)
        if digest_of(content, algorithm) not in self.model[repository].blobs:
            assert answer.status_code == 404
        elif start >= len(content):
            assert answer.status_code == 416
        else:
            assert (answer.status_code, answer.content) == (206, content[start : start + length + 1])

    @rule(repository=repositories, content=contents, algorithm=st.just("sha256") | algorithms)
    def delete_blob(self, repository: int, content: bytes, algorithm: str) -> None:
        digest, there = digest_of(content, algorithm), self.model[repository]
        want = 404 if digest not in there.blobs else 405 if there.needs(digest) else 202
        self.client.request("DELETE", f"/v2/{self.name(repository)}/blobs/{digest}", want=want)
        if want == 202:
            del there.blobs[digest]

    # Manifests

    @rule(
        repository=repositories,
        parts=st.lists(contents, min_size=1, max_size=3),
        algorithm=st.just("sha256") | algorithms,
        subject=st.none() | st.sampled_from(SUBJECTS),
        artifact_type=st.sampled_from(ARTIFACT_TYPES),
        named=st.lists(tags, max_size=3),
        by_tag=st.booleans(),
    )
    def put_image(
        self,
        repository: int,
        parts: list[bytes],
        algorithm: str,
        subject: Blob | None,
        artifact_type: str | None,
        named: list[str],
        by_tag: bool,
    ) -> None:
        descriptors = [
            {"mediaType": "application/vnd.example.part", "digest": digest_of(part, algorithm), "size": len(part)}
            for part in parts
        ]
        document: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptors[0]}
        document |= {"layers": descriptors[1:]}
        document |= {"subject": subject.descriptor()} if subject else {}
        document |= {"artifactType": artifact_type} if artifact_type else {}
        refs = frozenset(str(entry["digest"]) for entry in descriptors)
        item = StoredItem(
            json_blob(document, OCI_MANIFEST),
            refs,
            subject.digest if subject else None,
            artifact_type or "application/vnd.example.part",
        )
        complete = refs <= self.model[repository].blobs.keys()
        answer = self.put(repository, item, named, by_tag, complete)
        if complete:
            assert answer.headers.get("OCI-Subject") == item.subject

    @rule(repository=repositories, children=st.lists(picks, max_size=3), named=st.lists(tags, max_size=2))
    def put_index(self, repository: int, children: list[int], named: list[str]) -> None:
        known = sorted({digest for there in self.model for digest in there.manifests})
        chosen = [known[pick % len(known)] for pick in children] if known else []
        entries = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 5} for digest in chosen]
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        complete = set(chosen) <= self.model[repository].manifests.keys()
        self.put(repository, StoredItem(json_blob(document, OCI_INDEX)), named, by_tag=False, complete=complete)

    def put(
        self, repository: int, item: StoredItem, named: list[str], by_tag: bool, complete: bool
    ) -> requests.Response:
        by_tag = by_tag and bool(named)
        reference, more = (named[0], named[1:]) if by_tag else (item.manifest.digest, named)
        answer = self.client.request(
            "PUT",
            f"/v2/{self.name(repository)}/manifests/{reference}",
            params=[("tag", tag) for tag in more],
            data=item.manifest.content,
            headers={"Content-Type": item.manifest.media_type},
            want=201 if complete else 404,
        )
        if complete:
            there = self.model[repository]
            there.manifests[item.manifest.digest] = item
            there.tags |= dict.fromkeys(named, item.manifest.digest)
        else:
            assert error_code(answer) == "MANIFEST_BLOB_UNKNOWN"
        return answer

    @precondition(lambda self: any(there.manifests for there in self.model))
    @rule(pick=picks, tag=tags)
    def retag(self, pick: int, tag: str) -> None:
        everything = [(number, digest) for number, there in enumerate(self.model) for digest in there.manifests]
        repository, digest = everything[pick % len(everything)]
        manifest = self.model[repository].manifests[digest].manifest
        self.client.push_manifest(self.name(repository), tag, manifest)
        self.model[repository].tags[tag] = digest
        assert self.client.resolve(self.name(repository), tag) == digest

    @rule(repository=repositories, tag=tags)
    def delete_tag(self, repository: int, tag: str) -> None:
        there = self.model[repository].tags.pop(tag, None)
        path = f"/v2/{self.name(repository)}/manifests/{tag}"
        self.client.request("DELETE", path, want=202 if there else 404)
        self.client.request("GET", path, want=404)

    @precondition(lambda self: any(there.manifests for there in self.model))
    @rule(repository=repositories, pick=picks)
    def delete_manifest(self, repository: int, pick: int) -> None:
        known = sorted({digest for there in self.model for digest in there.manifests})
        digest, there = known[pick % len(known)], self.model[repository]
        path = f"/v2/{self.name(repository)}/manifests/{digest}"
        self.client.request("DELETE", path, want=202 if digest in there.manifests else 404)
        there.manifests.pop(digest, None)
        there.tags = {tag: target for tag, target in there.tags.items() if target != digest}
        self.client.request("GET", path, want=404)

    # Lists

    @rule(repository=repositories, n=st.integers(0, 4), last=st.just("") | tags)
    def list_tags(self, repository: int, n: int, last: str) -> None:
        wanted = [tag for tag in sorted(self.model[repository].tags) if tag > last]
        path, params = f"/v2/{self.name(repository)}/tags/list", {"n": str(n), "last": last}
        answer = self.client.request("GET", path, params=params, want=(200, 404))
        if answer.status_code == 404:
            assert not self.model[repository].manifests
            return
        assert answer.json()["tags"] == wanted[:n]
        assert ("next" in answer.links) == (0 < n < len(wanted))

    @rule(
        repository=repositories,
        subject=st.sampled_from(SUBJECTS),
        artifact_type=st.sampled_from(ARTIFACT_TYPES),
        n=st.integers(1, 3),
    )
    def list_referrers(self, repository: int, subject: Blob, artifact_type: str | None, n: int) -> None:
        wanted = sorted(
            digest
            for digest, item in self.model[repository].manifests.items()
            if item.subject == subject.digest and artifact_type in (None, item.artifact_type)
        )
        params = {"n": str(n)} | ({"artifactType": artifact_type} if artifact_type else {})
        path = f"/v2/{self.name(repository)}/referrers/{subject.digest}"
        answer = self.client.request("GET", path, params=params, want=200)
        found = [entry["digest"] for entry in answer.json()["manifests"]]
        while "next" in answer.links:
            answer = self.client.request("GET", answer.links["next"]["url"], want=200)
            found += [entry["digest"] for entry in answer.json()["manifests"]]
        assert found == wanted

    # Faults

    @precondition(lambda self: self.restarts < 1)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        self.restarts += 1
        if kill:
            self.server.kill()
        self.server.restart()
        self.check_everything()

    def check_session(self, session: Session) -> None:
        answer = self.client.request("GET", session.location, want=204)
        assert answer.headers["Range"] == f"0-{max(len(session.content) - 1, 0)}"

    def check_everything(self) -> None:
        """Every acknowledged byte is there, and nothing else."""
        for number, there in enumerate(self.model):
            name = self.name(number)
            for content, algorithm in itertools.product(CONTENTS, ("sha256", "sha512")):
                digest = digest_of(content, algorithm)
                assert self.client.has_blob(name, digest) == (digest in there.blobs)
            for digest, content in there.blobs.items():
                assert self.client.blob(name, digest) == content
            for digest, item in there.manifests.items():
                assert self.client.manifest(name, digest) == item.manifest
            for tag, digest in there.tags.items():
                assert self.client.resolve(name, tag) == digest
        listed = self.client.request("GET", "/v2/_catalog", params={"last": f"{self.prefix}/", "n": "3"}, want=200)
        wanted = [self.name(number) for number, there in enumerate(self.model) if there.manifests]
        assert [name for name in listed.json()["repositories"] if name.startswith(f"{self.prefix}/")] == wanted
        for session in self.sessions:
            self.check_session(session)

    def teardown(self) -> None:
        try:
            if self.server.process.poll() is None:
                self.check_everything()
        finally:
            self.client.close()


def machine_for(tested: ShoalServer) -> type[RegistryMachine]:
    class Machine(RegistryMachine):
        server = tested

    return Machine
