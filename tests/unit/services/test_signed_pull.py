"""Serving only signed images, over the fakes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from registry.domain.digest import Digest
from registry.domain.signing import SignaturePolicy
from registry.errors import BlobUnknown, Denied, RegistryError, Unavailable
from registry.ports import StoredBlob, StoredManifest
from registry.services import signed_pull
from registry.services.pull import PullService
from registry.services.signed_pull import MAX_SIGNATURES, SignatureGate
from registry.signatures.configured import ConfiguredPolicies
from tests.harness import signing
from tests.harness.content import Blob, Image, Index, artifact, image, index, json_blob, layer, small_image
from tests.harness.signing import new_key, public_pem, signature_image, signature_tag, simply_signed
from tests.unit.services.node import GRACE, OTHER, REPO, MemoryNode

KEY, SECOND, STRANGER = new_key(), new_key("Ed25519"), new_key()
SIGNER = signing.new_signer()
IMAGE = small_image(1)
RELEASES = SignaturePolicy("releases", "library/*", (public_pem(KEY),), (SIGNER.root_pem,))
AUDIT = SignaturePolicy("audit", "library/one", (public_pem(SECOND),))


class Policies:
    """Policies that a test may change."""

    def __init__(self, *policies: SignaturePolicy) -> None:
        self.are(*policies)

    def are(self, *policies: SignaturePolicy) -> None:
        self._now = ConfiguredPolicies(policies)

    def for_repository(self, repository: str) -> Sequence[SignaturePolicy]:
        return self._now.for_repository(repository)


class Guarded:
    """A node whose pulls pass a gate."""

    def __init__(self, node: MemoryNode, *policies: SignaturePolicy) -> None:
        self.node = node
        self.policies = Policies(*policies)
        self.gate = SignatureGate(node.metadata, node.blobs, self.policies, node.clock)
        self.pull = PullService(node.metadata, node.blobs, node.changes, node.clock, GRACE, self.gate)
        self.looks = 0
        look = self.gate._look

        async def counted(*arguments: object) -> signed_pull._Verdict:
            self.looks += 1
            return await look(*arguments)  # type: ignore[arg-type]

        self.gate._look = counted  # type: ignore[method-assign,assignment]

    async def pulls(self, item: Image | Index, repository: str = REPO) -> bool:
        try:
            await self.pull.manifest(repository, Digest.parse(item.digest))
        except Denied:
            return False
        return True

    async def sign(self, manifest: Blob, *keys: signing.PrivateKey) -> None:
        """Under the tag of cosign; another call takes its place."""
        await self.node.push_image(simply_signed(manifest, *keys), signature_tag(manifest.digest))


@pytest.fixture
async def guarded(node: MemoryNode) -> Guarded:
    node.clock.advance(SIGNER.chain[0].not_valid_before_utc.timestamp() + 86400 - node.clock())
    await node.push_image(IMAGE, "latest")
    return Guarded(node, RELEASES)


async def test_an_image_is_served_once_it_is_signed(guarded: Guarded) -> None:
    for reference in ("latest", Digest.parse(IMAGE.digest)):
        with pytest.raises(Denied, match=r"'releases'.*it has none") as caught:
            await guarded.pull.manifest(REPO, reference)
        assert caught.value.detail == {"policy": "releases", "digest": IMAGE.digest}
    await guarded.sign(IMAGE.manifest, KEY)
    assert (await guarded.pull.manifest(REPO, "latest")).digest == IMAGE.digest
    assert await guarded.pulls(IMAGE)


@pytest.mark.parametrize(
    "signature",
    [
        simply_signed(IMAGE.manifest, KEY, referring=True),
        signing.bundled(IMAGE.manifest, KEY),
        signing.message_signed(IMAGE.manifest, KEY),
        signing.notation_signed(IMAGE.manifest, SIGNER),
        signing.referring_artifact(
            signing.bundled(IMAGE.manifest, KEY).layers[0], IMAGE.manifest, "application/vnd.oci.empty.v1+json"
        ),
    ],
    ids=["cosign", "bundle", "message", "notation", "cosign-2.5"],
)
async def test_signatures_that_refer_to_the_image(guarded: Guarded, signature: Image) -> None:
    assert not await guarded.pulls(IMAGE)
    digest = await guarded.node.push_image(signature)
    assert await guarded.pulls(IMAGE)
    await guarded.node.manifests.delete(REPO, digest)
    assert not await guarded.pulls(IMAGE)


async def test_lists_of_referrers_that_clients_keep(guarded: Guarded) -> None:
    signature = signing.bundled(IMAGE.manifest, KEY)
    bare = Image(signing.artifact_without_subject(signature), signature.config, signature.layers)
    await guarded.node.push_image(bare)
    assert not await guarded.pulls(IMAGE)
    await guarded.node.put(signing.referrers_list(bare.manifest), IMAGE.digest.replace(":", "-"))
    assert await guarded.pulls(IMAGE)


async def test_one_key_of_a_policy_is_enough_and_each_policy_counts(guarded: Guarded) -> None:
    either = SignaturePolicy("either", "library/**", (public_pem(STRANGER), public_pem(KEY)))
    guarded.policies.are(either)
    await guarded.sign(IMAGE.manifest, KEY)
    assert await guarded.pulls(IMAGE)
    guarded.policies.are(either, AUDIT)
    with pytest.raises(Denied, match=r"'audit'.*none of its 1 signatures"):
        await guarded.pull.manifest(REPO, "latest")
    await guarded.sign(IMAGE.manifest, KEY, SECOND)
    assert await guarded.pulls(IMAGE)


async def test_repositories_that_no_policy_covers(guarded: Guarded) -> None:
    for repository in ("free/one", "library/deep/one"):
        await guarded.node.push_image(IMAGE, repository=repository)
        assert await guarded.pulls(IMAGE, repository)
    assert guarded.looks == 0


async def test_a_signature_counts_in_its_own_repository(guarded: Guarded) -> None:
    await guarded.node.push_image(IMAGE, repository=OTHER)
    await guarded.sign(IMAGE.manifest, KEY)
    assert await guarded.pulls(IMAGE)
    assert not await guarded.pulls(IMAGE, OTHER)


async def test_those_who_sign_are_served(guarded: Guarded) -> None:
    assert (await guarded.pull.manifest(REPO, "latest", unsigned=True)).digest == IMAGE.digest
    assert not await guarded.pulls(IMAGE)


async def test_signatures_are_served_and_images_that_look_like_them_are_not(guarded: Guarded) -> None:
    signature = signing.bundled(IMAGE.manifest, STRANGER)
    await guarded.node.push_image(signature)
    assert await guarded.pulls(signature)
    for pretender in (
        image(layer({"a": b"b"}), subject=IMAGE.manifest),
        artifact(layer({"a": b"b"}), artifact_type=signing.BUNDLE, subject=IMAGE.manifest),
    ):
        await guarded.node.push_image(pretender, signature_tag(IMAGE.digest))
        assert not await guarded.pulls(pretender)


@pytest.mark.parametrize("media_type", [signing.SIMPLE_SIGNING, "application/vnd.in-toto+json"])
async def test_an_image_whose_layers_are_called_signatures(guarded: Guarded, media_type: str) -> None:
    """podman runs it."""
    pretender = image(layer({"program": b"..."}, media_type=media_type))
    await guarded.node.push_image(pretender, signature_tag(IMAGE.digest))
    assert not await guarded.pulls(pretender)
    attestation = image(Blob(b'{"a": 1}', media_type))
    await guarded.node.push_image(attestation)
    assert await guarded.pulls(attestation)


async def test_an_old_client_and_a_list_of_signatures_that_lists_an_image(guarded: Guarded) -> None:
    document = index(IMAGE).manifest.json()
    document["manifests"][0]["artifactType"] = signing.BUNDLE
    listing = json_blob(document, index(IMAGE).manifest.media_type)
    await guarded.node.put(listing, "list")
    found = await guarded.pull.manifest(REPO, "list")
    with pytest.raises(Denied):
        await guarded.pull.for_client(REPO, found, [IMAGE.manifest.media_type])
    served = await guarded.pull.for_client(REPO, found, [IMAGE.manifest.media_type], unsigned=True)
    assert served.digest == IMAGE.digest


async def test_a_store_that_is_away_is_told_as_such(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    await guarded.sign(IMAGE.manifest, KEY)
    there = guarded.node.blobs.open

    async def away(blob: object) -> None:
        raise Unavailable("the store is away")

    monkeypatch.setattr(guarded.node.blobs, "open", away)
    with pytest.raises(Unavailable):
        await guarded.pull.manifest(REPO, "latest")
    monkeypatch.setattr(guarded.node.blobs, "open", there)
    assert await guarded.pulls(IMAGE)


async def test_one_signature_that_cannot_be_read_does_not_spoil_another(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = signing.payload(IMAGE.digest)
    broken, right = (b"broken", b"x"), (content, signing.sign(KEY, content))
    await guarded.node.push_image(signature_image(broken, right), signature_tag(IMAGE.digest))
    there = guarded.node.blobs.open

    async def opened(blob: StoredBlob) -> object:
        if str(blob.digest) == Blob(b"broken").digest:
            raise Unavailable("the store is away")
        return await there(blob)

    monkeypatch.setattr(guarded.node.blobs, "open", opened)
    assert await guarded.pulls(IMAGE)


class TestHostileSignatures:
    async def test_of_another_image_under_the_tag_of_this_one(self, guarded: Guarded) -> None:
        other = small_image(2)
        tag = signature_tag(IMAGE.digest)
        await guarded.node.push_image(simply_signed(other.manifest, KEY), tag)
        assert not await guarded.pulls(IMAGE)

    async def test_by_a_stranger(self, guarded: Guarded) -> None:
        await guarded.sign(IMAGE.manifest, STRANGER)
        for signature in (
            signing.bundled(IMAGE.manifest, STRANGER),
            signing.message_signed(IMAGE.manifest, STRANGER),
            signing.notation_signed(IMAGE.manifest, signing.new_signer()),
        ):
            await guarded.node.push_image(signature)
        assert not await guarded.pulls(IMAGE)
        await guarded.node.push_image(signing.bundled(IMAGE.manifest, KEY))
        assert await guarded.pulls(IMAGE)

    async def test_a_payload_that_was_changed(self, guarded: Guarded) -> None:
        signature = signing.sign(KEY, signing.payload(small_image(2).digest))
        changed = signature_image((signing.payload(IMAGE.digest), signature))
        await guarded.node.push_image(changed, signature_tag(IMAGE.digest))
        assert not await guarded.pulls(IMAGE)

    async def test_a_payload_whose_stored_bytes_were_changed(self, guarded: Guarded) -> None:
        signature = simply_signed(IMAGE.manifest, KEY)
        await guarded.node.push_image(signature, signature_tag(IMAGE.digest))
        payload = Digest.parse(signature.layers[0].digest)
        guarded.node.blobs.contents[payload] = signature.layers[0].content.replace(b"null", b"true")
        assert not await guarded.pulls(IMAGE)

    async def test_more_than_are_looked_at(self, guarded: Guarded) -> None:
        content = signing.payload(IMAGE.digest)
        wrong = [(content, random.Random(n).randbytes(70)) for n in range(MAX_SIGNATURES)]  # noqa: S311
        right = (content, signing.sign(KEY, content))
        tag = signature_tag(IMAGE.digest)
        await guarded.node.push_image(signature_image(*wrong, right), tag)
        assert not await guarded.pulls(IMAGE)
        await guarded.node.push_image(signature_image(*wrong[1:], right), tag)
        assert await guarded.pulls(IMAGE)

    async def test_more_in_all_indexes_than_are_looked_at(
        self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = index(IMAGE)
        outer = signing.index_of(inner.manifest)
        await guarded.node.put(inner.manifest)
        await guarded.node.put(outer)
        for manifest, key in ((IMAGE.manifest, STRANGER), (inner.manifest, STRANGER), (outer, KEY)):
            await guarded.sign(manifest, key)
        assert await guarded.pulls(IMAGE)
        monkeypatch.setattr(signed_pull, "MAX_ALL_SIGNATURES", 2)
        guarded.gate._verdicts.clear()
        assert not await guarded.pulls(IMAGE)

    async def test_one_that_is_larger_than_any(self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
        content = signing.payload(IMAGE.digest, "x" * 300_000)
        pair = content, signing.sign(KEY, content)
        await guarded.node.push_image(signature_image(pair), signature_tag(IMAGE.digest))

        async def refuse(blob: object) -> None:
            raise AssertionError(f"{blob} was opened")

        monkeypatch.setattr(guarded.node.blobs, "open", refuse)
        assert not await guarded.pulls(IMAGE)

    async def test_a_size_that_is_not_the_blobs(self, guarded: Guarded) -> None:
        content = signing.payload(IMAGE.digest, "x" * 300_000)
        lie = signature_image((content, signing.sign(KEY, content)))
        document = lie.manifest.content.replace(f'"size":{len(content)}'.encode(), b'"size":300')
        assert document != lie.manifest.content
        await guarded.node.push_image(
            Image(Blob(document, lie.manifest.media_type), lie.config, lie.layers), signature_tag(IMAGE.digest)
        )
        assert not await guarded.pulls(IMAGE)

    async def test_bytes_that_are_gone(self, guarded: Guarded) -> None:
        signature = simply_signed(IMAGE.manifest, KEY)
        await guarded.node.push_image(signature, signature_tag(IMAGE.digest))
        await guarded.node.blobs.remove(Digest.parse(signature.layers[0].digest))
        with pytest.raises(BlobUnknown):
            await guarded.node.pull.open_blob(REPO, Digest.parse(signature.layers[0].digest))
        assert not await guarded.pulls(IMAGE)


class TestIndexes:
    async def test_who_signs_an_index_vouches_for_its_images(self, guarded: Guarded) -> None:
        arm = small_image(3, architecture="arm64")
        listing = index(IMAGE, arm)
        await guarded.node.push_image(arm)
        await guarded.node.put(listing.manifest, "all")
        for item in (listing, IMAGE, arm):
            assert not await guarded.pulls(item)
        await guarded.sign(listing.manifest, KEY)
        for item in (listing, IMAGE, arm):
            assert await guarded.pulls(item)
        await guarded.node.manifests.delete(REPO, Digest.parse(listing.digest))
        assert not await guarded.pulls(arm)

    async def test_an_index_of_signed_images_is_not_signed_itself(self, guarded: Guarded) -> None:
        listing = index(IMAGE)
        await guarded.node.put(listing.manifest, "all")
        await guarded.sign(IMAGE.manifest, KEY)
        assert await guarded.pulls(IMAGE)
        assert not await guarded.pulls(listing)

    async def test_an_index_in_an_index(self, guarded: Guarded) -> None:
        inner = index(IMAGE)
        outer = Index(signing.index_of(inner.manifest), ())
        await guarded.node.put(inner.manifest)
        await guarded.node.put(outer.manifest)
        await guarded.sign(outer.manifest, KEY)
        assert await guarded.pulls(inner)
        assert await guarded.pulls(IMAGE)

    async def test_policies_may_be_satisfied_at_different_places(self, guarded: Guarded) -> None:
        guarded.policies.are(RELEASES, AUDIT)
        listing = index(IMAGE)
        await guarded.node.put(listing.manifest, "all")
        await guarded.sign(listing.manifest, KEY)
        await guarded.sign(IMAGE.manifest, SECOND)
        assert await guarded.pulls(IMAGE)
        assert not await guarded.pulls(listing)

    async def test_an_old_client_gets_the_image_of_a_signed_index(self, guarded: Guarded) -> None:
        listing = index(IMAGE)
        await guarded.node.put(listing.manifest, "all")
        await guarded.sign(listing.manifest, KEY)
        found = await guarded.pull.manifest(REPO, "all")
        assert (await guarded.pull.for_client(REPO, found, [IMAGE.manifest.media_type])).digest == IMAGE.digest


class TestMemory:
    async def test_a_verdict_is_found_once(self, guarded: Guarded) -> None:
        for signed in (False, True):
            if signed:
                await guarded.sign(IMAGE.manifest, KEY)
            before = guarded.looks
            for _ in range(5):
                assert await guarded.pulls(IMAGE) is signed
            assert guarded.looks == before + 1

    async def test_a_crowd_looks_once(self, guarded: Guarded) -> None:
        await guarded.sign(IMAGE.manifest, KEY)
        assert all(await asyncio.gather(*(guarded.pulls(IMAGE) for _ in range(20))))
        assert guarded.looks == 1

    async def test_signatures_that_come_and_go(self, guarded: Guarded) -> None:
        for _ in range(3):
            assert not await guarded.pulls(IMAGE)
            await guarded.sign(IMAGE.manifest, KEY)
            assert await guarded.pulls(IMAGE)
            await guarded.node.manifests.delete(REPO, signature_tag(IMAGE.digest))

    async def test_policies_that_change(self, guarded: Guarded) -> None:
        await guarded.sign(IMAGE.manifest, KEY)
        assert await guarded.pulls(IMAGE)
        guarded.policies.are(SignaturePolicy(RELEASES.name, RELEASES.pattern, (public_pem(STRANGER),)))
        assert not await guarded.pulls(IMAGE)
        guarded.policies.are(RELEASES)
        assert await guarded.pulls(IMAGE)
        guarded.policies.are()
        await guarded.node.manifests.delete(REPO, signature_tag(IMAGE.digest))
        assert await guarded.pulls(IMAGE)

    async def test_certificates_that_end(self, guarded: Guarded) -> None:
        await guarded.node.push_image(signing.notation_signed(IMAGE.manifest, SIGNER))
        assert await guarded.pulls(IMAGE)
        guarded.node.clock.advance(2 * 86400.0)
        assert not await guarded.pulls(IMAGE)

    async def test_a_change_while_it_is_looked_at_is_seen(self, guarded: Guarded) -> None:
        await guarded.sign(IMAGE.manifest, KEY)
        evidence = guarded.gate._evidence

        async def slow(repository: str, digest: str, failures: list[RegistryError]) -> object:
            found = await evidence(repository, digest, failures)
            if guarded.looks == 1:
                await guarded.node.manifests.delete(REPO, signature_tag(IMAGE.digest))
            return found

        guarded.gate._evidence = slow  # type: ignore[method-assign,assignment]
        await guarded.pulls(IMAGE)
        assert not await guarded.pulls(IMAGE)

    async def test_it_is_bounded(self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(signed_pull, "_REMEMBERED", 3)
        for number in range(10):
            await guarded.gate.check("free/one", StoredManifest(f"sha256:{number:064}", "a/b", b"{}"))
            with pytest.raises(Denied):
                await guarded.gate.check(REPO, StoredManifest(f"sha256:{number:064}", "a/b", b"{}"))
        assert len(guarded.gate._verdicts) == 3
