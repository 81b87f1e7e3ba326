"""Logins of people at a provider: the way there, the code, and who came back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientSession, web

from registry.auth.identity import Identity
from registry.auth.oidc import Login, OidcIssuer, challenge, new_login
from registry.auth_settings import OidcSettings
from registry.errors import Denied, Unavailable
from tests.harness.oidc_provider import OidcProvider

BACK = "https://shoal.example/login/back"


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with OidcProvider() as provider:
        yield provider


def opened(provider: OidcProvider, **changed: object) -> OidcIssuer:
    client = {"client_id": "shoal", "client_secret": provider.client_secret}
    return OidcIssuer(OidcSettings.model_validate({"issuer": provider.issuer} | client | changed))


@pytest.fixture
async def issuer(provider: OidcProvider) -> AsyncIterator[OidcIssuer]:
    issuer = opened(provider)
    yield issuer
    await issuer.close()


async def sent_to(issuer: OidcIssuer, login: Login) -> str:
    """The code with which the provider sends the browser back."""
    url = await issuer.authorization_url(login, BACK)
    async with ClientSession() as browser, browser.get(url, allow_redirects=False) as answer:
        assert answer.status == 302, await answer.text()
        back = urlsplit(answer.headers["Location"])
    query = parse_qs(back.query)
    assert query["state"] == [login.state]
    return query["code"][0]


async def logged_in(issuer: OidcIssuer) -> Identity:
    login = new_login()
    return await issuer.exchange(await sent_to(issuer, login), login.verifier, login.nonce, BACK)


async def test_a_login(issuer: OidcIssuer) -> None:
    assert await logged_in(issuer) == Identity("ann")


@pytest.mark.parametrize("methods", [None, ["client_secret_basic"], ["client_secret_post"]])
async def test_how_the_client_shows_its_secret(provider: OidcProvider, issuer: OidcIssuer, methods: object) -> None:
    provider.document = {"token_endpoint_auth_methods_supported": methods}
    assert await logged_in(issuer) == Identity("ann")


async def test_a_client_without_a_secret(provider: OidcProvider) -> None:
    provider.client_secret = ""
    issuer = opened(provider)
    assert await logged_in(issuer) == Identity("ann")
    await issuer.close()


async def test_the_way_there(issuer: OidcIssuer) -> None:
    login = new_login()
    query = parse_qs(urlsplit(await issuer.authorization_url(login, BACK)).query)
    assert query["code_challenge"] == [challenge(login.verifier)]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["openid profile"]
    assert query["tenant"] == ["1"]
    assert login.verifier not in str(query)


def test_the_challenge_of_rfc_7636() -> None:
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_secrets_of_a_login() -> None:
    one, other = new_login(), new_login()
    assert len({one.state, one.nonce, one.verifier, other.state, other.nonce, other.verifier}) == 6
    assert 43 <= len(one.verifier) <= 128  # RFC 7636, 4.1
    assert one.verifier not in repr(one)


async def test_names(provider: OidcProvider) -> None:
    provider.claims |= {"preferred_username": "Ann"}
    for name_claim, name in (("preferred_username", "ann"), ("sub", "4711")):
        issuer = opened(provider, name_claim=name_claim)
        assert await logged_in(issuer) == Identity(name)
        await issuer.close()


@pytest.mark.parametrize("name", ["\u212aevin", "anna\u0308", "\ud800", "", None, 5])
async def test_names_that_are_none(provider: OidcProvider, name: object) -> None:
    """The first one is a Kelvin sign, which is a k in lower case."""
    provider.claims |= {"preferred_username": name}
    issuer = opened(provider)
    with pytest.raises(Denied, match="does not say who you are"):
        await logged_in(issuer)
    await issuer.close()


async def test_groups_that_are_no_text(provider: OidcProvider) -> None:
    provider.claims |= {"groups": ["\ud800", "de\nvs", "devs", "\udfff\ud800"]}
    issuer = opened(provider, groups_claim="groups")
    assert await logged_in(issuer) == Identity("ann", ("devs",))
    await issuer.close()


async def test_groups(provider: OidcProvider) -> None:
    provider.claims |= {"groups": ["ops", "devs", 5, ""], "realm_access": {"roles": ["admin"]}, "one": "ops"}
    for claim, groups in (
        ("groups", ("devs", "ops")),
        ("realm_access.roles", ("admin",)),
        ("one", ("ops",)),
        ("x", ()),
    ):
        issuer = opened(provider, groups_claim=claim)
        assert await logged_in(issuer) == Identity("ann", groups)
        await issuer.close()


async def test_another_login_than_the_one_that_began(issuer: OidcIssuer) -> None:
    login, other = new_login(), new_login()
    for verifier, nonce, back in (
        (other.verifier, login.nonce, BACK),
        (login.verifier, other.nonce, BACK),
        (login.verifier, "", BACK),
        (login.verifier, login.nonce, BACK + "2"),
    ):
        code = await sent_to(issuer, login)
        with pytest.raises(Denied):
            await issuer.exchange(code, verifier, nonce, back)


async def test_a_code_is_good_once(issuer: OidcIssuer) -> None:
    login = new_login()
    code = await sent_to(issuer, login)
    await issuer.exchange(code, login.verifier, login.nonce, BACK)
    with pytest.raises(Denied, match="does not take the code"):
        await issuer.exchange(code, login.verifier, login.nonce, BACK)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-client"},
        {"aud": ["shoal", "another-client"], "azp": "another-client"},
        {"nonce": "other"},
        {"nonce": None},
        {"nonce": "\ud800"},
        {"iss": "https://id.example"},
        {"sub": None},
        {"iat": None},
        {"exp": int(time.time()) - 3600},
        {"preferred_username": None},
        {"preferred_username": ["ann"]},
    ],
)
async def test_id_tokens_that_do_not_count(
    provider: OidcProvider, issuer: OidcIssuer, claims: dict[str, object]
) -> None:
    provider.claims |= claims
    with pytest.raises(Denied):
        await logged_in(issuer)


async def test_a_wrong_secret(provider: OidcProvider) -> None:
    issuer = opened(provider, client_secret="wrong-one")
    with pytest.raises(Denied) as caught:
        await logged_in(issuer)
    assert "wrong-one" not in str(caught.value) + repr(issuer)
    await issuer.close()


@pytest.mark.parametrize(
    "answer",
    [web.Response(status=500), web.Response(status=302, headers={"Location": "/x"}), web.json_response({})],
    ids=["500", "302", "no token"],
)
async def test_a_token_endpoint_that_fails(provider: OidcProvider, issuer: OidcIssuer, answer: web.Response) -> None:
    provider.answers["/token"] = answer
    with pytest.raises(Unavailable):
        await logged_in(issuer)


@pytest.mark.parametrize("page", ["http://id.example/login", "javascript:alert(1)", "", "file:///x"])
async def test_a_page_that_no_browser_is_sent_to(provider: OidcProvider, issuer: OidcIssuer, page: str) -> None:
    provider.document = {"authorization_endpoint": page}
    with pytest.raises(Unavailable, match="has no page"):
        await issuer.authorization_url(new_login(), BACK)
