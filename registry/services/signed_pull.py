"""Serving only images that are signed: finds the signatures of an image, and remembers what came of them.

An image is served once each policy of its repository is satisfied by a signature of the image itself, or of an index
of the repository that lists it (who signs an index vouches for its images). Signatures, attestations and lists of
parts are always served, as they are what clients verify with, and nobody can run them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import structlog

from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.domain.manifest import INDEX_TYPES
from registry.domain.signing import SignaturePolicy, signature_tag
from registry.errors import BlobUnknown, Denied, DigestInvalid, RegistryError
from registry.ports import BlobStore, MetadataReader, SignaturePolicies, StoredBlob, StoredManifest, reading
from registry.services.discovery import DiscoveryService
from registry.services.opening import open_stored
from registry.signatures.evidence import ARTIFACT_TYPES, Evidence, Pointer, is_statement, pointers, unproven_layers
from registry.signatures.reading import Signed
from registry.signatures.verifier import FOREVER, Verifier

log = structlog.get_logger(__name__)

MAX_MANIFESTS = 32
"""Manifests of one kind of signature that are looked at for one image or index."""
MAX_SIGNATURES = 64
"""Signatures that are looked at for one image or index."""
MAX_ALL_SIGNATURES = 512
"""Signatures that are looked at for an image together with the indexes that list it."""
MAX_INDEXES = 100
"""Indexes that are looked at, from those that list an image up to those that list them. An image that stays the same
over many releases is in one of each."""

_REMEMBERED = 10_000
_LOOK_AGAIN = 60.0  # seconds; a certificate may become valid, and an error of the storage may pass


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was found of an image: `refused_by` None lets it pass. It holds for these policies, revision and time."""

    policies: Sequence[SignaturePolicy]
    revision: int
    until: float
    refused_by: SignaturePolicy | None
    seen: int = 0


class SignatureGate:
    """Decides whether an image may be pulled. It needs nothing but ports, so that slaves and agents can have one."""

    def __init__(self, reader: MetadataReader, blobs: BlobStore, policies: SignaturePolicies, clock: Clock) -> None:
        self._reader = reader
        self._blobs = blobs
        self._policies = policies
        self._clock = clock
        self._discovery = DiscoveryService(reader)
        self._verdicts: OrderedDict[tuple[str, str], _Verdict] = OrderedDict()
        self._verifiers: dict[SignaturePolicy, Verifier] = {}
        self._deciding: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def check(self, repository: str, manifest: StoredManifest) -> None:
        """Raises Denied with the name of the first policy that is not satisfied; RegistryError of the storage.

        `manifest` was just read of the repository, which makes the reader's revision as new as the request.
        """
        policies = self._policies.for_repository(repository)
        if not policies:
            return
        key = repository, manifest.digest
        verdict = self._known(key, policies)
        if verdict is None:
            lock = self._deciding.setdefault(key, asyncio.Lock())
            async with lock:  # one of a crowd looks, the others wait
                verdict = self._known(key, policies) or await self._decide(repository, manifest, policies)
        if verdict.refused_by is not None:
            raise _refusal(verdict, manifest.digest)

    def _known(self, key: tuple[str, str], policies: Sequence[SignaturePolicy]) -> _Verdict | None:
        verdict = self._verdicts.get(key)
        if verdict is None or verdict.revision != self._reader.revision(key[0]) or verdict.policies != policies:
            return None
        return verdict if self._clock() < verdict.until else None

    async def _decide(self, repository: str, manifest: StoredManifest, policies: Sequence[SignaturePolicy]) -> _Verdict:
        revision = self._reader.revision(repository)  # before anything is read: what changes from now on is seen
        verdict = await self._look(repository, manifest, policies, revision)
        key = repository, manifest.digest
        self._verdicts[key] = verdict
        self._verdicts.move_to_end(key)
        while len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)
        if verdict.refused_by is not None:
            name = verdict.refused_by.name
            log.info("pull refused: not signed", repository=repository, digest=manifest.digest, policy=name)
        return verdict

    async def _look(
        self, repository: str, manifest: StoredManifest, policies: Sequence[SignaturePolicy], revision: int
    ) -> _Verdict:
        if await self._is_about_images(repository, manifest):
            return _Verdict(policies, revision, FOREVER, None)
        missing = [self._verifier(policy) for policy in policies]
        until, seen = FOREVER, 0
        failures: list[RegistryError] = []
        async for vouching in self._vouching(repository, manifest):
            evidence = await self._evidence(repository, vouching.digest, failures)
            seen += len(evidence)
            signed = Signed(vouching.digest, vouching.content)
            ends = await asyncio.to_thread(_check_all, missing, evidence, signed, self._clock()) if evidence else {}
            until = min([until, *ends.values()])
            missing = [verifier for verifier in missing if verifier not in ends]
            if not missing:
                return _Verdict(policies, revision, until, None)
            if seen >= MAX_ALL_SIGNATURES:
                break
        if failures:  # what could not be read may be the signature that is missing
            raise failures[0]
        return _Verdict(policies, revision, self._clock() + _LOOK_AGAIN, missing[0].policy, seen)

    async def _vouching(self, repository: str, manifest: StoredManifest) -> AsyncIterator[StoredManifest]:
        """The image itself, then the indexes of the repository that list it, the nearest first."""
        yield manifest
        met, waiting = {manifest.digest}, [manifest.digest]
        while waiting:
            for digest in await self._reader.indexes_with(repository, waiting.pop(0), MAX_INDEXES):
                if digest in met or len(met) > MAX_INDEXES:
                    continue
                met.add(digest)
                index = await self._reader.manifest_by_digest(repository, digest)
                if index is not None and index.media_type in INDEX_TYPES:
                    waiting.append(digest)
                    yield index

    async def _is_about_images(self, repository: str, manifest: StoredManifest) -> bool:
        """Whether this is no image, but signatures or statements. Raises RegistryError where that cannot be read."""
        layers = unproven_layers(manifest.media_type, manifest.content)
        if layers is None:
            return False
        for layer in layers:
            evidence = await self._read(repository, layer)
            if evidence is None or not await asyncio.to_thread(is_statement, evidence.content):
                return False
        return True

    async def _evidence(self, repository: str, digest: str, failures: list[RegistryError]) -> tuple[Evidence, ...]:
        """The signatures that the repository keeps of a manifest, each once, as many as are looked at.

        Those that cannot be read just now are left out, and the reasons are added to `failures`.
        """
        found: dict[Pointer, None] = {}
        async for signature in self._signature_manifests(repository, digest):
            found |= dict.fromkeys(pointers(signature.content))
        read = []
        for pointer in list(found)[:MAX_SIGNATURES]:
            try:
                evidence = await self._read(repository, pointer)
            except RegistryError as error:
                failures.append(error)
                continue
            if evidence is not None:
                read.append(evidence)
        return tuple(read)

    async def _signature_manifests(self, repository: str, digest: str) -> AsyncIterator[StoredManifest]:
        tagged = await self._reader.manifest_by_tag(repository, signature_tag(digest))
        if tagged is not None:
            yield tagged
        subject = Digest.parse(digest)
        for artifact_type in ARTIFACT_TYPES:
            page = await self._discovery.referrers(repository, subject, artifact_type, "", MAX_MANIFESTS)
            for entry in page.entries:
                referrer = await self._reader.manifest_by_digest(repository, entry.digest)
                if referrer is not None:
                    yield referrer

    async def _read(self, repository: str, pointer: Pointer) -> Evidence | None:
        """The bytes of a layer; None where there is none of this digest and size. Raises RegistryError.

        The size is the pointer's, and so within its bounds.
        """
        try:
            digest = Digest.parse(pointer.digest)
            link = await self._reader.blob(repository, pointer.digest)
            if link is None or link.size != pointer.size:
                return None
            blob = await open_stored(self._reader, self._blobs, StoredBlob(digest, link.size, link.location))
        except (DigestInvalid, BlobUnknown):
            return None
        try:
            async with reading(blob.read(0, link.size)) as chunks:
                return Evidence(pointer, b"".join([chunk async for chunk in chunks]))
        finally:
            blob.close()

    def _verifier(self, policy: SignaturePolicy) -> Verifier:
        found = self._verifiers.get(policy)
        if found is None:
            if len(self._verifiers) >= _REMEMBERED:
                self._verifiers.clear()
            found = self._verifiers[policy] = Verifier(policy)
        return found


def _check_all(
    verifiers: Sequence[Verifier], evidence: tuple[Evidence, ...], signed: Signed, now: float
) -> dict[Verifier, float]:
    """Those that are satisfied, each with the time until when; a verification takes 0.1 ms, so it runs in a thread."""
    checked = ((verifier, verifier.check_any(evidence, signed, now)) for verifier in verifiers)
    return {verifier: until for verifier, until in checked if until is not None}


def _refusal(verdict: _Verdict, digest: str) -> Denied:
    assert verdict.refused_by is not None
    name = verdict.refused_by.name
    looked = f"none of its {verdict.seen} signatures is one" if verdict.seen else "it has none"
    return Denied(
        f"the signature policy {name!r} lets an image be pulled only with a signature by one of its keys; {looked}",
        {"policy": name, "digest": digest},
    )
