"""Tokens of a token service outside: what they allow, with which keys, and which do not count."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from registry.auth.foreign_tokens import MOST_BYTES, ForeignAccess, ForeignTokens
from registry.auth.signed_tokens import libtrust_fingerprint, thumbprint, thumbprint_of
from registry.auth_settings import TokenSettings
from registry.errors import StartupError
from tests.harness import certificates
from tests.harness.oidc_provider import Private, forged, make_key, public_jwk
from tests.harness.process import run

KINDS = ["RS256", "PS384", "ES256", "ES384", "EdDSA"]
PULL = [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]


def pem(key: Private) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def opened(path: Path, content: str) -> ForeignTokens:
    path.write_text(content)
    return ForeignTokens(TokenSettings(realm="https://id.example", service="shoal", issuer="tokens", keys=str(path)))


def token(key: Private, algorithm: str = "ES256", kid: str | None = None, **changed: Any) -> str:
    now = int(time.time())
    claims = {"iss": "tokens", "aud": "shoal", "sub": "ann", "exp": now + 300, "nbf": now, "iat": now, "jti": "1"}
    kept = {name: value for name, value in ({**claims, "access": PULL} | changed).items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    return jwt.PyJWS().encode(json.dumps(kept).encode(), key, algorithm, headers=headers)


@pytest.fixture
def key() -> Private:
    return make_key()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


ALLOWED = ForeignAccess("ann", {"team/app": frozenset({"pull", "push"})})


@pytest.mark.parametrize("algorithm", KINDS)
@pytest.mark.parametrize("form", ["pem", "jwks"])
def test_one_key_among_many(path: Path, algorithm: str, form: str) -> None:
    keys = [make_key(kind) for kind in KINDS] + [make_key(algorithm), make_key(algorithm)]
    jwks = json.dumps({"keys": [public_jwk(key, None) for key in keys]})
    tokens = opened(path, "".join(map(pem, keys)) if form == "pem" else jwks)
    for key in keys[-2:]:
        names = [None, "unknown", thumbprint_of(key.public_key())]
        for kid in [*names, libtrust_fingerprint(key.public_key())]:
            assert tokens.access_of(token(key, algorithm, kid)) == ALLOWED
    assert tokens.access_of(token(make_key(algorithm), algorithm)) is None
    assert tokens.access_of(token(make_key(algorithm), algorithm, thumbprint_of(key.public_key()))) is None


def test_a_key_by_its_name_in_a_set(path: Path, key: Private) -> None:
    other = make_key()
    tokens = opened(path, json.dumps({"keys": [public_jwk(key, "one"), public_jwk(other, "two")]}))
    assert tokens.access_of(token(key, kid="one")) == ALLOWED
    assert tokens.access_of(token(key, kid="two")) is None


@pytest.mark.require("openssl")
def test_a_certificate(path: Path, tmp_path: Path) -> None:
    made = certificates.made(tmp_path / "certificates")
    tokens = opened(path, "its text\n" + made.certificate.read_text())
    private = made.key.read_text()
    der = "".join(made.certificate.read_text().split("\n")[1:-2])
    now = int(time.time())
    claims = {"iss": "tokens", "aud": "shoal", "sub": "ann", "exp": now + 300, "access": PULL}
    assert tokens.access_of(jwt.encode(claims, private, "ES256")) == ALLOWED
    assert tokens.access_of(jwt.encode(claims, private, "ES256", headers={"x5c": [der]})) == ALLOWED


@pytest.mark.require("openssl")
def test_a_chain_in_the_token_brings_no_key(path: Path, tmp_path: Path) -> None:
    """The authority is configured, and has signed the key: it is not in the file, so it does not count."""
    made = certificates.made(tmp_path / "certificates")
    tokens = opened(path, made.ca.read_text())
    der = ["".join(file.read_text().split("\n")[1:-2]) for file in (made.certificate, made.ca)]
    claims = {"iss": "tokens", "aud": "shoal", "exp": int(time.time()) + 300, "access": PULL}
    assert tokens.access_of(jwt.encode(claims, made.key.read_text(), "ES256", headers={"x5c": der})) is None


@pytest.mark.require("openssl")
def test_names_of_a_key_as_openssl_sees_it(tmp_path: Path) -> None:
    key = make_key("RS256")
    (tmp_path / "key.pem").write_text(pem(key))
    command = (
        f"openssl pkey -pubin -in {tmp_path}/key.pem -outform der | openssl dgst -sha256 -binary | head -c 30 | base32"
    )
    said = run(["sh", "-c", command]).stdout.strip()
    assert libtrust_fingerprint(key.public_key()) == ":".join(said[n : n + 4] for n in range(0, 48, 4))


def test_the_thumbprint_of_rfc_7638() -> None:
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    jwk = {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (None, ForeignAccess("ann", {})),
        ([], ForeignAccess("ann", {})),
        (PULL + PULL, ALLOWED),
        (
            [*PULL, {"type": "repository", "name": "team/app", "actions": ["delete"]}],
            ForeignAccess("ann", {"team/app": frozenset({"pull", "push", "delete"})}),
        ),
        ([{"type": "repository(plugin)", "name": "p", "actions": ["*"]}], ForeignAccess("ann", {"p": frozenset("*")})),
        ([{"type": "registry", "name": "catalog", "actions": ["*"]}], ForeignAccess("ann", {}, True)),
        ([{"type": "registry", "name": "catalog", "actions": ["pull"]}], ForeignAccess("ann", {})),
        ([{"type": "other", "name": "x", "actions": ["*"]}], ForeignAccess("ann", {})),
        ([{"type": "repository", "name": "x", "actions": None}], ForeignAccess("ann", {"x": frozenset()})),
        ("all", None),
        ([5], None),
        ([{"type": "repository", "name": "x", "actions": "pull"}], None),
        ([{"type": "repository", "name": 5, "actions": ["pull"]}], None),
        ([{"name": "x", "actions": ["pull"]}], None),
        ([*PULL, {"type": "repository", "name": "x", "actions": [["pull"]]}], None),
    ],
)
def test_what_is_allowed(path: Path, key: Private, access: object, expected: ForeignAccess | None) -> None:
    assert opened(path, pem(key)).access_of(token(key, access=access)) == expected


def test_nobody_in_particular(path: Path, key: Private) -> None:
    tokens = opened(path, pem(key))
    for sub in ("", None):
        allowed = tokens.access_of(token(key, sub=sub))
        assert allowed is not None
        assert allowed.name == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"exp": -90},
        {"nbf": 900},
        {"iat": 900},
        {"sub": ["ann"]},
    ],
)
def test_claims_that_do_not_count(path: Path, key: Private, changed: dict[str, Any]) -> None:
    """Times are seconds from now."""
    now = int(time.time())
    claims: dict[str, Any] = {name: now + value if isinstance(value, int) else value for name, value in changed.items()}
    assert opened(path, pem(key)).access_of(token(key, **claims)) is None


def test_forged_tokens(path: Path, key: Private) -> None:
    tokens = opened(path, pem(key))
    good = token(key)
    claims = jwt.decode(good, options={"verify_signature": False})
    assert tokens.access_of(forged({"alg": "none"}, claims)) is None
    unsigned = forged({"alg": "HS256"}, claims).rpartition(".")[0]
    signature = hmac.new(pem(key).encode(), unsigned.encode(), hashlib.sha256).digest()
    assert tokens.access_of(forged({"alg": "HS256"}, claims, signature)) is None
    assert tokens.access_of(token(make_key("EdDSA"), "EdDSA")) is None
    for text in ("", "x", "a.b.c", good + "x", good * 100, "é"):
        assert tokens.access_of(text) is None


def test_files_that_cannot_be_used(path: Path, key: Private, tmp_path: Path) -> None:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that it is too short is what is tested
    for content, said in (
        ("", "has no usable key"),
        ("some text", "has no usable key"),
        (pem(key) + private, "holds a private key"),
        (pem(weak), "its key 1 is too weak"),
        (pem(key) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "its part 2"),
        ("{}", "what should be a set of keys is none"),
        ("{", "cannot be used"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}), "has no usable key"),
        (json.dumps({"keys": [public_jwk(weak, "weak")]}), "has no usable key"),
        (" " * (MOST_BYTES + 1), "has more than 1 MiB"),
    ):
        with pytest.raises(StartupError, match=said) as caught:
            opened(path, content)
        assert str(caught.value).startswith("auth.token.keys: ")
        assert "\n" not in str(caught.value)
        assert private.split("\n")[1] not in str(caught.value)
    path.unlink()
    with pytest.raises(StartupError, match="cannot be read: No such file"):
        ForeignTokens(TokenSettings(keys=str(path)))
