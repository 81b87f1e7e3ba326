"""Settings of who somebody is: `[auth]`, and the sections of each source outside of the registry.

Each source of settings is checked alone, and a secret may come from the environment where the rest comes from the
file; what belongs together is therefore looked at when all of them were read, by `problems`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from registry.setting_types import PositiveSeconds, Secret, Section
from registry.values import Address

_LONGEST = 30 * 86400.0  # seconds for which a key is kept that signs no more

ClaimPattern = str | int | bool
"""What a claim of a token has to be; `*` in a text stands for anything."""


def _hosts_url(text: str, *schemes: str) -> SplitResult | None:
    """The parts of a URL of one of the schemes that names a host, and nothing that would be ignored."""
    try:
        url = urlsplit(text)
        well_formed = url.scheme in schemes and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        return None
    if not well_formed or "@" in url.netloc or url.query or url.fragment or not text.isprintable() or " " in text:
        return None
    return url


def _issuer(text: str) -> str:
    url = _hosts_url(text, "https", "http")
    if url is None:
        raise ValueError('expected the URL of an issuer, as its tokens write it in "iss", such as https://id.example')
    if url.scheme == "http" and not Address(url.hostname or "", 0).is_loopback:
        raise ValueError("expected https: whoever is on the way could put keys of his own in place of the issuer's")
    return text


def _ldap_url(text: str) -> str:
    url = _hosts_url(text, "ldap", "ldaps") if text else None
    if text and (url is None or url.path.strip("/")):
        raise ValueError('expected "ldaps://HOST[:PORT]", or "ldap://HOST[:PORT]" with start_tls = true')
    return text


def _realm(text: str) -> str:
    if text and _hosts_url(text, "https", "http") is None:
        raise ValueError("expected the URL of the token service, as clients reach it, such as https://id.example/token")
    return text


def _tables(value: object) -> object:
    """A variable of the environment holds the list of tables as JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("expected [[auth.oidc]] sections, or a list of them as JSON in a variable") from None
    return value


class LdapSettings(Section):
    """A directory of people that knows their passwords; an empty `url`: none. `timeout` is for each step."""

    url: Annotated[str, AfterValidator(_ldap_url)] = ""
    start_tls: bool = False
    bind_dn: str = ""
    bind_password: Secret = SecretStr("")
    base: str = ""
    user_filter: str = "(uid={name})"
    # the account is named after this, so that Alice and ALICE, who are one to the directory, are one here
    name_attribute: str = "uid"
    groups_base: str = ""
    group_filter: str = "(member={dn})"
    group_attribute: str = "cn"
    ca_file: str = ""
    timeout: PositiveSeconds = 5.0


class ClaimRule(Section):
    """Whoever has a token whose claims all fit is `account`."""

    claims: Annotated[dict[str, ClaimPattern], Field(min_length=1)]
    account: Annotated[str, Field(min_length=1)]


class OidcSettings(Section):
    """An OpenID Connect issuer: tokens of jobs by `rules` (for `audience`), logins of people by `client_id`.

    `key_hosts`: hosts beside the issuer's own that it may keep its keys and its token endpoint at.
    """

    issuer: Annotated[str, AfterValidator(_issuer)]
    audience: str = ""
    client_id: str = ""
    client_secret: Secret = SecretStr("")
    ca_file: str = ""
    key_hosts: tuple[str, ...] = ()
    rules: tuple[ClaimRule, ...] = ()
    name_claim: Literal["preferred_username", "sub"] = "preferred_username"
    groups_claim: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    timeout: PositiveSeconds = 10.0


class TokenSettings(Section):
    """A token service outside of the registry; an empty `realm`: none. `keys`: a PEM or JWKS file of public keys."""

    realm: Annotated[str, AfterValidator(_realm)] = ""
    service: str = ""
    issuer: str = ""
    keys: str = ""


class AuthSettings(Section):
    """Where people and jobs are known, beside the registry itself."""

    # what tokens are for; nodes that share accounts share it
    service: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._:/-]+$")] = "shoal"
    # docker and podman count any token for a minute, and ask for each operation anew
    token_lifetime: Annotated[PositiveSeconds, Field(ge=60)] = 300.0
    # of people who log in with a browser: how long the browser, and a password for docker, are good
    session_lifetime: Annotated[PositiveSeconds, Field(ge=60, le=_LONGEST)] = 8 * 3600.0
    login_lifetime: Annotated[PositiveSeconds, Field(ge=60, le=_LONGEST)] = 12 * 3600.0
    htpasswd: str = ""
    ldap: LdapSettings = LdapSettings()
    oidc: Annotated[tuple[OidcSettings, ...], BeforeValidator(_tables), "secret"] = ()
    token: TokenSettings = TokenSettings()


def problems(auth: AuthSettings) -> Iterator[str]:
    """One line for each setting that does not go with another one."""
    yield from _ldap_problems(auth.ldap)
    for oidc in auth.oidc:
        yield from _oidc_problems(oidc)
    issuers = [oidc.issuer for oidc in auth.oidc]
    for issuer in sorted({issuer for issuer in issuers if issuers.count(issuer) > 1}):
        yield f"auth.oidc: {issuer} is there twice; write one [[auth.oidc]] section with the rules of both"
    token = auth.token
    if any((token.realm, token.service, token.issuer, token.keys)) and not all(
        (token.realm, token.service, token.issuer, token.keys)
    ):
        yield "auth.token: realm, service, issuer and keys go together: set all of them, or none"


def _ldap_problems(ldap: LdapSettings) -> Iterator[str]:
    if not ldap.url:
        if ldap.base or ldap.bind_dn:
            yield "auth.ldap.url: is missing; write ldaps://HOST"
        return
    url = urlsplit(ldap.url)
    if url.scheme == "ldap" and not ldap.start_tls and not Address(url.hostname or "", 0).is_loopback:
        yield f"auth.ldap.url: {ldap.url} would send passwords in the clear; write ldaps://, or set start_tls = true"
    if url.scheme == "ldaps" and ldap.start_tls:
        yield "auth.ldap.start_tls: ldaps:// is encrypted from the first byte; leave start_tls out, or write ldap://"
    if not ldap.base:
        yield 'auth.ldap.base: is missing: where people are, such as "ou=people,dc=example,dc=org"'
    if "{name}" not in ldap.user_filter:
        yield "auth.ldap.user_filter: {name} is missing: everybody would be the same person"
    if ldap.groups_base and "{dn}" not in ldap.group_filter and "{name}" not in ldap.group_filter:
        yield "auth.ldap.group_filter: {dn} (or {name}) is missing: everybody would be in every group"
    if bool(ldap.bind_dn) != bool(ldap.bind_password.get_secret_value()):
        yield "auth.ldap.bind_dn and auth.ldap.bind_password go together: set both, or neither"


def _oidc_problems(oidc: OidcSettings) -> Iterator[str]:
    if not oidc.rules and not oidc.client_id:
        yield f"auth.oidc: {oidc.issuer}: neither rules (for jobs) nor client_id (for people): it could let nobody in"
    if oidc.rules and not oidc.audience:
        yield f"auth.oidc: {oidc.issuer}: audience is missing: a token made for another service would do here"
    if oidc.client_id and "openid" not in oidc.scopes:
        yield f'auth.oidc: {oidc.issuer}: scopes: "openid" is missing'
