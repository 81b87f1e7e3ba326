"""Tokens of jobs, verified with the keys of a provider: which count, which do not, and what they make us ask."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.auth.identity import Identity
from registry.auth.issuer_documents import MOST_BYTES, PAUSE, RETRY, STALE
from registry.auth.oidc import OidcIssuer, new_login
from registry.auth_settings import OidcSettings
from registry.errors import StartupError, Unavailable
from tests.harness import certificates
from tests.harness.oidc_provider import OidcProvider, forged, make_key, public_jwk

RULES = [
    {"claims": {"repository": "team/app", "ref": "refs/heads/*"}, "account": "ci-team-app"},
    {"claims": {"sub": "job"}, "account": "ci"},
]
KEYS, DISCOVERY = "/keys", "/.well-known/openid-configuration"
CI = Identity("ci")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with OidcProvider() as provider:
        yield provider


def settings(provider: OidcProvider, **changed: object) -> OidcSettings:
    return OidcSettings.model_validate({"issuer": provider.issuer, "audience": "registry", "rules": RULES} | changed)


@pytest.fixture
async def issuer(provider: OidcProvider, clock: Clock) -> AsyncIterator[OidcIssuer]:
    issuer = OidcIssuer(settings(provider), clock)
    yield issuer
    await issuer.close()


async def test_rules_say_which_account(provider: OidcProvider, issuer: OidcIssuer) -> None:
    matching = provider.token(repository="team/app", ref="refs/heads/feature/x")
    assert await issuer.identity_of(matching) == Identity("ci-team-app")
    assert await issuer.identity_of(provider.token(repository="team/app", ref="refs/tags/1")) == CI
    assert await issuer.identity_of(provider.token(sub="other")) is None
    assert await issuer.identity_of(provider.token(aud=["x", "registry"])) == CI
    assert provider.asked == {DISCOVERY: 1, KEYS: 1}


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
async def test_algorithms(provider: OidcProvider, issuer: OidcIssuer, algorithm: str) -> None:
    provider.rotate("key", algorithm)
    assert await issuer.identity_of(provider.token()) == CI


async def test_times_with_a_minute_to_spare(provider: OidcProvider, issuer: OidcIssuer) -> None:
    now = int(time.time())
    for good in ({"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}, {"iat": None}):
        assert await issuer.identity_of(provider.token(**good)) == CI, good
    for bad in ({"exp": now - 90}, {"nbf": now + 90}, {"iat": now + 90}, {"exp": None}, {"exp": "soon"}):
        assert await issuer.identity_of(provider.token(**bad)) is None, bad


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "other"},
        {"aud": None},
        {"aud": ["other"]},
        {"aud": "registr"},
        {"aud": {"registry": 1}},
        {"iss": None},
        {"iss": "http://elsewhere.example"},
        {"iss": ["a"]},
        {"exp": float("inf")},
        {"nbf": "now"},
        {"sub": 5},
    ],
)
async def test_claims_that_do_not_count(provider: OidcProvider, issuer: OidcIssuer, changed: dict[str, Any]) -> None:
    assert await issuer.identity_of(provider.token(**changed)) is None


async def test_the_issuer_is_compared_to_the_letter(provider: OidcProvider, issuer: OidcIssuer) -> None:
    assert await issuer.identity_of(provider.token(iss=provider.issuer + "/")) is None
    async with OidcProvider() as slashed:
        slashed.suffix = "/"
        slashed.issuer += "/"
        other = OidcIssuer(settings(slashed))
        assert await other.identity_of(slashed.token()) == CI
        assert await other.identity_of(slashed.token(iss=slashed.url)) is None
        await other.close()


async def test_no_signature_or_one_that_anybody_can_make(provider: OidcProvider, issuer: OidcIssuer) -> None:
    good = provider.token()
    header, claims = jwt.get_unverified_header(good), jwt.decode(good, options={"verify_signature": False})
    public = provider.keys["first"][1].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(public_jwk(provider.keys["first"][1], "first")).encode()
    for algorithm in ("none", "None", "NONE", "", None, ["ES256"]):
        assert await issuer.identity_of(forged(header | {"alg": algorithm}, claims)) is None
    for secret in (pem, jwk, b""):
        unsigned = forged(header | {"alg": "HS256"}, claims).rpartition(".")[0]
        signature = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
        assert await issuer.identity_of(forged(header | {"alg": "HS256"}, claims, signature)) is None
    assert await issuer.identity_of(forged(header, claims, b"\0" * 64)) is None  # CVE-2022-21449
    assert await issuer.identity_of(good[:-8] + "AAAAAAAA") is None
    changed = forged(header, claims | {"repository": "team/app"})
    assert await issuer.identity_of(changed.rpartition(".")[0] + "." + good.rpartition(".")[2]) is None


async def test_the_key_of_somebody_else(provider: OidcProvider, issuer: OidcIssuer) -> None:
    mine = provider.keys["first"]
    provider.keys["first"] = ("ES256", make_key())
    forged_token = provider.token()
    provider.keys["first"] = mine
    assert await issuer.identity_of(forged_token) is None
    assert await issuer.identity_of(provider.token()) == CI


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c"])
async def test_a_token_does_not_say_where_its_key_is(provider: OidcProvider, issuer: OidcIssuer, header: str) -> None:
    async with OidcProvider() as trap:
        _, key = trap.keys["first"]
        pointer: dict[str, object] = {"jku": trap.issuer + KEYS, "x5u": trap.issuer + KEYS, "x5c": ["AAAA"]}
        pointer["jwk"] = public_jwk(key, "first")
        claims = jwt.decode(provider.token(), options={"verify_signature": False})
        for kid in ("first", "other"):
            token = jwt.encode(claims, key, "ES256", headers={"kid": kid, header: pointer[header]})
            assert await issuer.identity_of(token) is None
        assert not trap.asked
        # and a good one is not spoilt by such a header
        assert await issuer.identity_of(provider.token(headers={header: pointer[header]})) == CI


async def test_an_extension_that_is_not_known(provider: OidcProvider, issuer: OidcIssuer) -> None:
    assert await issuer.identity_of(provider.token(headers={"crit": ["exp"], "exp": 1})) is None


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "e30.e30.", "é.é.é", "e30." * 5, "{}", "[" * 9000])
async def test_what_is_no_token_makes_no_request(provider: OidcProvider, issuer: OidcIssuer, token: str) -> None:
    assert await issuer.identity_of(token) is None
    assert not provider.asked


async def test_a_huge_token_makes_no_request(provider: OidcProvider, issuer: OidcIssuer) -> None:
    assert await issuer.identity_of(provider.token(filling="x" * 16384)) is None
    deep = forged({"alg": "ES256"}, {}) + "["
    assert await issuer.identity_of(deep) is None
    assert not provider.asked


async def test_keys_rotate(provider: OidcProvider, issuer: OidcIssuer, clock: Clock) -> None:
    old = provider.token()
    assert await issuer.identity_of(old) == CI
    provider.rotate("second")
    clock.now += PAUSE
    fresh = provider.token()
    assert await asyncio.gather(*(issuer.identity_of(fresh) for _ in range(20))) == [CI] * 20
    assert provider.asked[KEYS] == 2
    assert await issuer.identity_of(old) is None  # withdrawn


async def test_a_flood_of_unknown_keys(provider: OidcProvider, issuer: OidcIssuer, clock: Clock) -> None:
    assert await issuer.identity_of(provider.token()) == CI
    clock.now += PAUSE
    flood = [provider.token(headers={"kid": f"unknown-{number}"}) for number in range(50)]
    assert await asyncio.gather(*(issuer.identity_of(token) for token in flood)) == [None] * 50
    assert provider.asked[KEYS] == 2
    clock.now += PAUSE - 1
    assert await issuer.identity_of(flood[0]) is None
    assert provider.asked[KEYS] == 2
    assert await issuer.identity_of(provider.token()) == CI


async def test_an_issuer_that_is_away(provider: OidcProvider, issuer: OidcIssuer, clock: Clock) -> None:
    provider.answers[KEYS] = web.Response(status=500)
    token = provider.token()
    for _ in range(3):
        with pytest.raises(Unavailable, match="does not answer"):
            await issuer.identity_of(token)
    assert provider.asked[KEYS] == 1
    clock.now += RETRY
    provider.answers.clear()
    assert await issuer.identity_of(token) == CI
    provider.answers[DISCOVERY] = web.Response(status=500)
    clock.now += STALE - 1
    assert await issuer.identity_of(token) == CI  # for a day by the keys that are held
    clock.now += PAUSE
    with pytest.raises(Unavailable):
        await issuer.identity_of(token)


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=302, headers={"Location": "/elsewhere"}),
        web.Response(body=b'{"keys": []}' + b" " * MOST_BYTES),
        web.Response(text="<html>"),
        web.Response(body=b"[" * 100_000),
        web.json_response({"keys": "none"}),
        web.json_response([]),
    ],
    ids=["elsewhere", "huge", "text", "deep", "no list", "no object"],
)
async def test_answers_that_are_not_used(provider: OidcProvider, issuer: OidcIssuer, answer: web.Response) -> None:
    provider.answers[KEYS] = answer
    with pytest.raises(Unavailable):
        await issuer.identity_of(provider.token())
    assert "/elsewhere" not in provider.asked


@pytest.mark.parametrize("endpoint", ["jwks_uri", "token_endpoint"])
async def test_endpoints_at_another_host(provider: OidcProvider, endpoint: str) -> None:
    async with OidcProvider() as trap:
        for url in (f"{trap.issuer}/keys", "file:///etc/passwd", f"http://user@{trap.issuer[7:]}/keys", "//x/keys"):
            provider.document = {endpoint: url}
            issuer = OidcIssuer(settings(provider, key_hosts=["keys.example"]))
            with pytest.raises(Unavailable):
                await issuer.identity_of(provider.token())
            await issuer.close()
        assert not trap.asked


async def test_a_document_of_another_issuer(provider: OidcProvider, issuer: OidcIssuer) -> None:
    provider.document = {"issuer": "https://id.example"}
    with pytest.raises(Unavailable):
        await issuer.identity_of(provider.token())


async def test_keys_that_are_not_for_this(provider: OidcProvider, issuer: OidcIssuer) -> None:
    _, key = provider.keys["first"]
    rejected = [public_jwk(key, "first", use="enc"), public_jwk(key, "first", alg="ES384"), {"kty": "oct", "k": "AAAA"}]
    provider.jwks = {"keys": [*rejected, 5, {"kty": "EC", "kid": "first", "crv": "P-256"}]}
    assert await issuer.identity_of(provider.token()) is None


@pytest.mark.require("openssl")
async def test_over_https_with_an_authority_of_its_own(tmp_path: Path) -> None:
    made = certificates.made(tmp_path / "certificates")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made.certificate, made.key)
    async with OidcProvider(tls=tls) as provider:
        trusting, other = OidcIssuer(settings(provider, ca_file=str(made.ca))), OidcIssuer(settings(provider))
        assert await trusting.identity_of(provider.token()) == CI
        with pytest.raises(Unavailable):
            await other.identity_of(provider.token())
        await trusting.close()
        await other.close()
        with pytest.raises(StartupError, match=r"auth.oidc.ca_file: .*absent cannot be used"):
            OidcIssuer(settings(provider, ca_file=str(tmp_path / "absent")))


async def test_without_rules_nobody_is_asked(provider: OidcProvider) -> None:
    issuer = OidcIssuer(settings(provider, rules=[], client_id="shoal"))
    assert await issuer.identity_of(provider.token()) is None
    assert not provider.asked
    await issuer.close()


async def test_a_crowd_at_an_issuer_that_is_silent_waits_once(clock: Clock) -> None:
    connections = 0

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await asyncio.sleep(0.6)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        issuer = OidcIssuer(OidcSettings(issuer=address, client_id="shoal", timeout=0.3), clock)
        asked = [issuer.authorization_url(new_login(), "https://shoal.example/auth/callback") for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await issuer.close()
    assert {type(answer) for answer in answers} == {Unavailable}
    assert connections == 1
