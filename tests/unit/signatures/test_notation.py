"""Envelopes of notation and their chains of certificates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry.signatures import chains, notation
from registry.signatures.reading import NoSignatureError, Signed
from tests.harness import signing
from tests.harness.content import small_image
from tests.harness.signing import ALGORITHMS, Signer, b64url, certificate, jws, new_key, new_signer, target

IMAGE, OTHER = small_image(1).manifest, small_image(2).manifest
SIGNED = Signed(IMAGE.digest, IMAGE.content)
SIGNER = new_signer()
TRUST = frozenset(SIGNER.chain[-1:])
NOW = time.time()
DAY = 86400.0


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(NoSignatureError) as caught:
        check()
    return str(caught.value)


def checked(content: bytes, signer: Signer = SIGNER, now: float = NOW) -> float:
    return notation.check(content, SIGNED, frozenset(signer.chain[-1:]), now)


@pytest.mark.parametrize("kind", sorted(ALGORITHMS))
def test_every_kind_of_key(kind: str) -> None:
    signer = new_signer(kind)
    until = checked(jws(signer, target(IMAGE), ALGORITHMS[kind]), signer)
    assert until == pytest.approx(time.time() + DAY, abs=300)


def test_another_image() -> None:
    assert "another image" in refusal(lambda: checked(jws(SIGNER, target(OTHER))))


def test_a_chain_that_passes_nothing_trusted() -> None:
    envelope = jws(new_signer(), target(IMAGE))
    assert "trusted" in refusal(lambda: notation.check(envelope, SIGNED, TRUST, NOW))


def test_a_trusted_certificate_that_did_not_issue_the_signer() -> None:
    stranger = new_signer()
    pretender = Signer(stranger.key, (stranger.chain[0], SIGNER.chain[-1]))
    assert "not sound" in refusal(lambda: notation.check(jws(pretender, target(IMAGE)), SIGNED, TRUST, NOW))
    appended = Signer(stranger.key, (*stranger.chain, SIGNER.chain[-1]))
    assert "not sound" in refusal(lambda: notation.check(jws(appended, target(IMAGE)), SIGNED, TRUST, NOW))


def test_another_key_than_that_of_the_certificate() -> None:
    forged = Signer(new_key(), SIGNER.chain)
    assert "has not signed" in refusal(lambda: notation.check(jws(forged, target(IMAGE)), SIGNED, TRUST, NOW))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "PS256", "RS256", "", None, ["ES256"]])
def test_the_key_says_which_algorithm_it_is(algorithm: object) -> None:
    assert "algorithm" in refusal(lambda: checked(jws(SIGNER, target(IMAGE), alg=algorithm)))


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": []},
        {"crit": ["io.cncf.notary.expiry"]},
        {"crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.verificationPlugin"]},
        {"crit": "io.cncf.notary.signingScheme"},
        {"cty": "text/plain"},
        {"io.cncf.notary.signingScheme": "notary.x509.signingAuthority"},
        {"io.cncf.notary.expiry": "2020-01-01T00:00:00Z"},
        {"io.cncf.notary.expiry": "2099-01-01T00:00:00"},
        {"io.cncf.notary.expiry": "never"},
        {"io.cncf.notary.expiry": 4102444800},
    ],
)
def test_headers_that_are_not_understood_or_have_expired(headers: dict[str, Any]) -> None:
    refusal(lambda: checked(jws(SIGNER, target(IMAGE), **headers)))


def test_an_expiry_ends_a_signature_before_its_certificates_do() -> None:
    soon = datetime.fromtimestamp(int(NOW) + 60, UTC)
    critical = ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]
    envelope = jws(SIGNER, target(IMAGE), crit=critical, **{"io.cncf.notary.expiry": soon.isoformat()})
    assert checked(envelope) == soon.timestamp()
    assert "expired" in refusal(lambda: checked(envelope, now=NOW + 61))


@pytest.mark.parametrize("now", [NOW - 2 * DAY, NOW + 2 * DAY])
def test_certificates_count_while_they_are_valid(now: float) -> None:
    assert "valid" in refusal(lambda: checked(jws(SIGNER, target(IMAGE)), now=now))


@pytest.mark.parametrize(
    "leaf",
    [
        {"uses": [ExtendedKeyUsageOID.SERVER_AUTH]},
        {"uses": [ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]},
        {"authority": True},
    ],
)
def test_certificates_for_other_uses(leaf: dict[str, Any]) -> None:
    signer = new_signer(**leaf)
    assert "not sound" in refusal(lambda: checked(jws(signer, target(IMAGE)), signer))


def test_a_signer_cannot_issue_certificates() -> None:
    key = new_key()
    below = certificate("below", key, (SIGNER.chain[0].subject, SIGNER.key))
    signer = Signer(key, (below, *SIGNER.chain))
    assert "not sound" in refusal(lambda: checked(jws(signer, target(IMAGE)), signer))


def test_an_authority_says_how_long_a_chain_below_it_may_be() -> None:
    keys = [new_key() for _ in range(3)]
    root = certificate("root", keys[0], authority=True, path_length=0)
    middle = certificate("middle", keys[1], (root.subject, keys[0]), authority=True)
    leaf = certificate("leaf", keys[2], (middle.subject, keys[1]))
    signer = Signer(keys[2], (leaf, middle, root))
    assert "longer" in refusal(lambda: checked(jws(signer, target(IMAGE)), signer))
    direct = Signer(keys[2], (certificate("leaf", keys[2], (root.subject, keys[0])), root))
    checked(jws(direct, target(IMAGE)), direct)


def test_a_certificate_in_the_middle_may_be_the_trusted_one() -> None:
    keys = [new_key() for _ in range(3)]
    root = certificate("root", keys[0], authority=True)
    middle = certificate("middle", keys[1], (root.subject, keys[0]), authority=True)
    leaf = certificate("leaf", keys[2], (middle.subject, keys[1]))
    envelope = jws(Signer(keys[2], (leaf, middle, root)), target(IMAGE))
    notation.check(envelope, SIGNED, frozenset([middle]), NOW)


def test_a_chain_is_bounded() -> None:
    key = new_key()
    alone = certificate("alone", key, authority=True)
    longest = Signer(key, (alone,) * (chains.MAX_CHAIN + 1))
    assert "does not have 1 to 8" in refusal(lambda: checked(jws(longest, target(IMAGE)), longest))


def test_a_certificate_that_signs_itself() -> None:
    key = new_key()
    signer = Signer(key, (certificate("alone", key),))
    checked(jws(signer, target(IMAGE)), signer)


@pytest.mark.parametrize("size", [len(IMAGE.content) + 1, str(len(IMAGE.content)), None])
def test_the_size_belongs_to_the_image(size: object) -> None:
    content = json.dumps({"targetArtifact": {**IMAGE.descriptor(), "size": size}}).encode()
    assert "another image" in refusal(lambda: checked(jws(SIGNER, content)))


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": b64url(target(OTHER))},
        {"payload": 1},
        {"protected": b64url(b"{}")},
        {"protected": "="},
        {"header": None},
        {"header": {"x5c": []}},
        {"header": {"x5c": ["AAAA"]}},
        {"header": {"x5c": [1]}},
        {"header": {"x5c": SIGNER.x5c * 5}},
        {"signature": ""},
        {"signature": b64url(b"\0" * 64)},
        {"signatures": []},
    ],
)
def test_envelopes_that_are_not_as_they_should_be(changes: dict[str, object]) -> None:
    envelope = json.loads(jws(SIGNER, target(IMAGE)))
    checked(json.dumps(envelope).encode())
    refusal(lambda: checked(json.dumps({**envelope, **changes}).encode()))


def test_an_envelope_without_json() -> None:
    for content in (b"", b"[]", b"{", signing.bundle(SIGNER.key, {})):
        refusal(lambda: checked(content))  # noqa: B023


def test_certificates_of_a_file() -> None:
    assert chains.read_certificates(SIGNER.root_pem * 2) == (SIGNER.chain[-1],) * 2
    with pytest.raises(ValueError, match="no certificate"):
        chains.read_certificates(signing.public_pem(SIGNER.key))
