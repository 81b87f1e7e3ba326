"""OpenID Connect: tokens of jobs, by rules on their claims, and logins of people through a browser.

Core 1.0 (3.1: the code flow), Discovery 1.0, RFC 6749, and RFC 7636 (PKCE). The handlers are in http.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import structlog
from aiohttp import encode_basic_auth
from yarl import URL

from registry.auth.identity import Identity
from registry.auth.issuer_documents import IssuerDocuments
from registry.auth.oidc_claims import account_by_rules, person
from registry.auth.signed_tokens import TokenRefusedError, UnknownKeyError, candidates, header_of, issuer_of, verified
from registry.auth_settings import OidcSettings
from registry.errors import Denied, Unavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """What belongs to one attempt to log in. All three are kept with the browser that began it, and nowhere else.

    `state` has to come back with the code (RFC 6749, 10.12), `nonce` in the token; `verifier` goes with the code.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


def new_login() -> Login:
    """Three secrets of 256 bits or more."""
    return Login(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


def challenge(verifier: str) -> str:
    """S256 of RFC 7636, section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class OidcIssuer:
    """One issuer that the settings name. Close it."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Asks nobody yet. Raises StartupError where `ca_file` cannot be used."""
        self._settings = settings
        self._documents = IssuerDocuments(settings, clock)

    def __repr__(self) -> str:
        return f"OidcIssuer({self._settings.issuer!r})"

    @property
    def issuer(self) -> str:
        return self._settings.issuer

    @property
    def has_people(self) -> bool:
        """Whether people log in by it, with a browser."""
        return bool(self._settings.client_id)

    async def close(self) -> None:
        await self._documents.close()

    async def identity_of(self, token: str) -> Identity | None:
        """The account whose rule fits a token of a job; None where it is not valid, or no rule fits, or it is another
        issuer's. Raises Unavailable where the issuer's keys cannot be had.
        """
        if not self._settings.rules or issuer_of(token) != self._settings.issuer:
            return None
        try:
            claims = await self._claims(token, self._settings.audience)
        except TokenRefusedError as refusal:
            log.info("a token is refused", issuer=self.issuer, reason=str(refusal))
            return None
        account = account_by_rules(self._settings.rules, claims)
        if account is None:
            log.info("no rule fits a token", issuer=self.issuer, subject=str(claims.get("sub"))[:200])
            return None
        return Identity(account)

    async def authorization_url(self, login: Login, redirect_uri: str) -> str:
        """Where to send the browser. Raises Unavailable where the issuer does not answer, or does not say."""
        documents = await self._documents.current()
        if not documents.authorization_endpoint:
            raise Unavailable(f"{self.issuer} has no page for logging in")
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": challenge(login.verifier),
            "code_challenge_method": "S256",
        }
        return str(URL(documents.authorization_endpoint).update_query(query))

    async def check_named(self, named: str) -> None:
        """Whether an answer is this issuer's, by the issuer that it names itself, "" where it names none (RFC 9207):
        else the code of one issuer could be taken to another one. Raises Denied, Unavailable.
        """
        documents = await self._documents.current()
        if named != self.issuer and (named or documents.names_itself):
            log.warning("an answer is of another issuer", issuer=self.issuer, named=named[:200])
            raise Denied(f"this answer is not of {self.issuer}, where the login was begun; begin it anew")

    async def exchange(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> Identity:
        """The person who came back with a code. `verifier` and `nonce` are those of the Login that sent the browser
        away, `redirect_uri` the same as then; that `state` came back is for the caller to see to.

        Raises Denied where the issuer or what it says does not let the person in, Unavailable where it is away.
        """
        token = await self._id_token(code, verifier, redirect_uri)
        try:
            claims = await self._claims(token, self._settings.client_id)
            self._check_login(claims, nonce)
        except TokenRefusedError as refusal:
            log.warning("an ID token is refused", issuer=self.issuer, reason=str(refusal))
            raise Denied(f"the login at {self.issuer} does not count: {refusal}") from None
        found = person(claims, self._settings.name_claim, self._settings.groups_claim)
        if found is None:
            raise Denied(f"{self.issuer} does not say who you are ({self._settings.name_claim})")
        return found

    async def _id_token(self, code: str, verifier: str, redirect_uri: str) -> str:
        documents = await self._documents.current()
        if not documents.token_endpoint:
            raise Unavailable(f"{self.issuer} does not say where codes are exchanged")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        client, secret = self._settings.client_id, self._settings.client_secret.get_secret_value()
        headers = {}
        if secret and documents.takes_basic:
            headers["Authorization"] = encode_basic_auth(quote_plus(client), quote_plus(secret))
        else:
            form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
        status, answer = await self._documents.ask_for_token(documents.token_endpoint, form, headers)
        if 400 <= status < 500:
            reason = str(answer.get("error"))[:100] if isinstance(answer, dict) else ""
            log.warning("a code is refused", issuer=self.issuer, status=status, reason=reason)
            raise Denied(f"{self.issuer} does not take the code of this login; begin it anew")
        token = answer.get("id_token") if status == 200 and isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise Unavailable(f"{self.issuer} answers a login with status {status} and no ID token")
        return token

    def _check_login(self, claims: dict[str, Any], nonce: str) -> None:
        """Core 1.0, 3.1.3.7: that the token is of this login, and of this client."""
        given = claims.get("nonce")
        if (
            not nonce
            or not isinstance(given, str)
            or not hmac.compare_digest(given.encode(errors="surrogatepass"), nonce.encode())
        ):
            raise TokenRefusedError("it is of another login (nonce)")
        if claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise TokenRefusedError("it is for another client (azp)")
        if not isinstance(claims.get("sub"), str) or "iat" not in claims:
            raise TokenRefusedError("sub or iat is missing")

    async def _claims(self, token: str, audience: str) -> dict[str, Any]:
        """What the issuer has signed. Raises TokenRefusedError, Unavailable."""
        header_of(token)  # what cannot count makes no request
        documents = await self._documents.current()
        try:
            keys = candidates(documents.keys, token, strict=True)
        except UnknownKeyError:
            documents = await self._documents.current(than=documents)
            keys = candidates(documents.keys, token, strict=True)
        return verified(token, keys, self._settings.issuer, audience)
