"""cosign's payloads and bundles: what counts as a signature of an image, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from registry.signatures import bundle, cosign
from registry.signatures.keys import read_keys
from registry.signatures.reading import NoSignatureError, Signed
from tests.harness import signing
from tests.harness.content import Blob, small_image
from tests.harness.signing import b64, new_key, payload, public_pem, sign, statement

KINDS = ("P-256", "P-384", "RSA-2048", "Ed25519")
IMAGE = small_image(1).manifest
OTHER = small_image(2).manifest
SIGNED = Signed(IMAGE.digest, IMAGE.content)
KEY, STRANGER = new_key(), new_key()
TRUSTED = read_keys(public_pem(KEY))


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(NoSignatureError) as caught:
        check()
    return str(caught.value)


def bundle_of(**changes: object) -> bytes:
    """A bundle that is right but for the changes."""
    content = signing.bundle(KEY, {"dsseEnvelope": signing.envelope(KEY, statement(IMAGE.digest))})
    return json.dumps({**json.loads(content), **changes}).encode()


class TestSimpleSigning:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_key(self, kind: str) -> None:
        key, content = new_key(kind), payload(IMAGE.digest)
        keys = read_keys(public_pem(STRANGER) + public_pem(key))
        cosign.check(content, b64(sign(key, content)), SIGNED, keys)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_key_that_the_policy_does_not_name(self, kind: str) -> None:
        key, content = new_key(kind), payload(IMAGE.digest)
        for trusted in (TRUSTED, read_keys(public_pem(new_key(kind)))):
            assert "no key" in refusal(lambda: cosign.check(content, b64(sign(key, content)), SIGNED, trusted))  # noqa: B023

    def test_where_the_payload_says_it_is_from_does_not_matter(self) -> None:
        content = payload(IMAGE.digest, "elsewhere.example/team/app")
        cosign.check(content, b64(sign(KEY, content)), SIGNED, TRUSTED)

    def test_another_image(self) -> None:
        content = payload(OTHER.digest)
        assert "another image" in refusal(lambda: cosign.check(content, b64(sign(KEY, content)), SIGNED, TRUSTED))

    def test_a_payload_that_was_changed(self) -> None:
        signature = b64(sign(KEY, payload(OTHER.digest)))
        assert "no key" in refusal(lambda: cosign.check(payload(IMAGE.digest), signature, SIGNED, TRUSTED))

    def test_another_type(self) -> None:
        content = payload(IMAGE.digest, kind="atomic container signature")
        assert "type" in refusal(lambda: cosign.check(content, b64(sign(KEY, content)), SIGNED, TRUSTED))

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b"{",
            b'{"critical": 1}',
            b'{"critical": {"image": []}}',
            b"[" * 100_000,
            IMAGE.digest.encode(),
            IMAGE.content,
        ],
    )
    def test_what_the_key_signed_for_other_ends(self, content: bytes) -> None:
        refusal(lambda: cosign.check(content, b64(sign(KEY, content)), SIGNED, TRUSTED))

    @pytest.mark.parametrize(
        "signature", [None, "", "!", "AAAA", b64(b"\0" * 64), b64(b"0\x06\x02\x01\0\x02\x01\0"), "ü"]
    )
    def test_signatures_that_are_none(self, signature: str | None) -> None:
        refusal(lambda: cosign.check(payload(IMAGE.digest), signature, SIGNED, TRUSTED))


class TestBundles:
    @pytest.mark.parametrize("kind", KINDS)
    def test_statements_by_every_kind_of_key(self, kind: str) -> None:
        key = new_key(kind)
        content = signing.bundled(IMAGE, key).layers[0].content
        bundle.check(content, SIGNED, read_keys(public_pem(key)))
        assert "no key" in refusal(lambda: bundle.check(content, SIGNED, TRUSTED))

    @pytest.mark.parametrize("kind", KINDS)
    def test_messages_by_every_kind_of_key(self, kind: str) -> None:
        key = new_key(kind)
        content = signing.message_signed(IMAGE, key).layers[0].content
        bundle.check(content, SIGNED, read_keys(public_pem(key)))
        refusal(lambda: bundle.check(content, SIGNED, TRUSTED))
        refusal(lambda: bundle.check(content, Signed(OTHER.digest, OTHER.content), read_keys(public_pem(key))))

    def test_the_digest_beside_a_signature_of_a_message_proves_nothing(self) -> None:
        content = json.loads(signing.message_signed(OTHER, KEY).layers[0].content)
        hinted = json.loads(signing.message_signed(IMAGE, KEY).layers[0].content)["messageSignature"]["messageDigest"]
        content["messageSignature"]["messageDigest"] = hinted
        refusal(lambda: bundle.check(json.dumps(content).encode(), SIGNED, TRUSTED))

    def test_another_image(self) -> None:
        content = signing.bundled(OTHER, KEY).layers[0].content
        assert "another image" in refusal(lambda: bundle.check(content, SIGNED, TRUSTED))

    def test_a_statement_about_the_image_is_no_signature_of_it(self) -> None:
        content = signing.bundled(IMAGE, KEY, "https://slsa.dev/provenance/v1").layers[0].content
        assert "statement" in refusal(lambda: bundle.check(content, SIGNED, TRUSTED))

    def test_the_payload_type_is_signed_too(self) -> None:
        other = signing.envelope(KEY, statement(IMAGE.digest), "application/octet-stream")
        assert "statement" in refusal(lambda: bundle.check(bundle_of(dsseEnvelope=other), SIGNED, TRUSTED))
        renamed = {**other, "payloadType": "application/vnd.in-toto+json"}
        assert "no key" in refusal(lambda: bundle.check(bundle_of(dsseEnvelope=renamed), SIGNED, TRUSTED))

    def test_a_signature_over_the_bare_payload(self) -> None:
        bare = {
            **signing.envelope(KEY, statement(IMAGE.digest)),
            "signatures": [{"sig": b64(sign(KEY, statement(IMAGE.digest)))}],
        }
        assert "no key" in refusal(lambda: bundle.check(bundle_of(dsseEnvelope=bare), SIGNED, TRUSTED))

    def test_a_payload_that_was_changed(self) -> None:
        changed = {**signing.envelope(KEY, statement(OTHER.digest)), "payload": b64(statement(IMAGE.digest))}
        assert "no key" in refusal(lambda: bundle.check(bundle_of(dsseEnvelope=changed), SIGNED, TRUSTED))

    def test_one_right_signature_among_several(self) -> None:
        envelope = signing.envelope(KEY, statement(IMAGE.digest))
        wrong = signing.envelope(STRANGER, statement(IMAGE.digest))["signatures"]
        few = {**envelope, "signatures": [*wrong * 7, *envelope["signatures"]]}
        bundle.check(bundle_of(dsseEnvelope=few), SIGNED, TRUSTED)
        many = {**envelope, "signatures": [*wrong * 8, *envelope["signatures"]]}
        refusal(lambda: bundle.check(bundle_of(dsseEnvelope=many), SIGNED, TRUSTED))

    @pytest.mark.parametrize(
        "changes",
        [
            {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"},
            {"verificationMaterial": {"certificate": {"rawBytes": ""}}},
            {"messageSignature": {}},
            {"dsseEnvelope": None},
            {"dsseEnvelope": []},
            {"dsseEnvelope": {}},
            {"dsseEnvelope": {"payload": "", "payloadType": "application/vnd.in-toto+json"}},
            {"dsseEnvelope": {"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": {}}},
            {"dsseEnvelope": {"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": [1]}},
        ],
    )
    def test_bundles_that_are_not_as_they_should_be(self, changes: dict[str, object]) -> None:
        bundle.check(bundle_of(), SIGNED, TRUSTED)
        refusal(lambda: bundle.check(bundle_of(**changes), SIGNED, TRUSTED))


class TestKeys:
    @pytest.mark.parametrize(
        ("pem", "problem"),
        [
            ("", "no PEM block"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "PUBLIC KEY is expected"),
            (
                "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
                "private",
            ),
            (public_pem(new_key("RSA-1024")), "2048"),
        ],
    )
    def test_what_is_no_key_is_told(self, pem: str, problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            read_keys(pem)

    def test_several_in_one_file(self) -> None:
        assert len(read_keys(f"# ours\n{public_pem(KEY)}# theirs\n{public_pem(STRANGER)}")) == 2


def test_a_name_by_sha512() -> None:
    digest = Blob(IMAGE.content).sha512
    content = signing.bundle(KEY, {"dsseEnvelope": signing.envelope(KEY, statement(digest))})
    bundle.check(content, Signed(digest, IMAGE.content), TRUSTED)
    refusal(lambda: bundle.check(content, SIGNED, TRUSTED))
