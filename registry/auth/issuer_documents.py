"""What an OpenID Connect issuer publishes: where its endpoints are, and its keys; fetched, bounded and kept.

Only the settings decide whom we ask. The issuer's own document may name its endpoints, and they have to be at the
issuer's host, or at one of `key_hosts`; nothing that a token says leads to a request.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from registry.auth.signed_tokens import TokenRefusedError, VerifyingKey, keys_of
from registry.auth_settings import OidcSettings
from registry.errors import StartupError, Unavailable
from registry.values import Address

log = structlog.get_logger(__name__)

MOST_BYTES = 512 * 1024
FRESH = 3600.0  # seconds after which keys are fetched anew: an issuer may have withdrawn one
STALE = 86400.0  # seconds for which they count where the issuer does not answer
PAUSE = 60.0  # seconds between two requests, whatever tokens come
RETRY = 5.0  # seconds between two requests while nothing was ever had
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Documents:
    """One version of what the issuer publishes. `takes_basic`: how the client shows its secret (RFC 6749, 2.3.1);
    `names_itself`: it says in each answer to a browser whose it is (RFC 9207, 3).
    """

    authorization_endpoint: str
    token_endpoint: str
    takes_basic: bool
    keys: tuple[VerifyingKey, ...]
    names_itself: bool = False


def must_fetch(now: float, fetched: float | None, tried: float | None, *, wants_newer: bool) -> bool:
    """Whether to ask the issuer now; `fetched` and `tried` say when it answered and when it was asked last."""
    if tried is None:
        return True
    if fetched is None:
        return now - tried >= RETRY
    return (wants_newer or now - fetched >= FRESH) and now - tried >= PAUSE


def may_ask(url: str, issuer: str, key_hosts: tuple[str, ...]) -> bool:
    """Whether a URL of the issuer's document may be fetched: at the issuer's own origin, or https at a named host."""
    try:
        asked, own = URL(url), URL(issuer)
        if asked.user is not None or not asked.host:
            return False
        at_home = (asked.scheme, asked.host, asked.port) == (own.scheme, own.host, own.port)
        return at_home or (asked.scheme == "https" and asked.host in key_hosts)
    except ValueError:
        return False


def may_send_browser(url: str) -> bool:
    """Whether a browser may be sent there: https, or this machine."""
    try:
        parsed = URL(url)
    except ValueError:
        return False
    return parsed.scheme == "https" or (parsed.scheme == "http" and Address(parsed.host or "", 0).is_loopback)


def discovery_url(issuer: str) -> str:
    """OpenID Connect Discovery, section 4: a slash at the end of the issuer is left out here, and only here."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


class IssuerDocuments:
    """The documents of one issuer. Close it."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float]) -> None:
        """Asks nobody yet. Raises StartupError where `ca_file` cannot be used."""
        self._settings = settings
        self._clock = clock
        self._trust = _trust(settings.ca_file)
        self._session: ClientSession | None = None
        self._lock = asyncio.Lock()
        self._held: Documents | None = None
        self._fetched: float | None = None
        self._tried: float | None = None
        self._asked = 0

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def current(self, than: Documents | None = None) -> Documents:
        """What is held; with `than`, something newer where that may be asked for now, else the same again.

        Raises Unavailable where there is nothing, or nothing that is young enough.
        """
        if than is None and self._held and not must_fetch(self._clock(), self._fetched, self._tried, wants_newer=False):
            return self._young()  # and does not wait while somebody else asks for something newer
        asked = self._asked
        async with self._lock:
            newer = than is not None and than is self._held
            # Whoever waited takes what came of it: an issuer that is silent costs a crowd one timeout, not one each.
            if self._asked == asked and must_fetch(self._clock(), self._fetched, self._tried, wants_newer=newer):
                await self._refresh()
            return self._young()

    def _young(self) -> Documents:
        if self._held is None or self._fetched is None or self._clock() - self._fetched >= STALE:
            raise Unavailable(f"{self._settings.issuer} does not answer, so its tokens cannot be verified just now")
        return self._held

    async def ask_for_token(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, object]:
        """Status and JSON of the token endpoint's answer. Raises Unavailable where it does not answer."""
        try:
            return await self._json("POST", url, form, headers)
        except _FAILURES as error:
            log.error("an issuer does not answer", issuer=self._settings.issuer, problem=_said(error))
            raise Unavailable(f"{self._settings.issuer} does not answer just now; try again") from None

    async def _refresh(self) -> None:
        self._tried = self._clock()
        try:
            self._held = await self._fetch()
            self._fetched = self._tried
        except _FAILURES as error:
            log.error("the keys of an issuer cannot be had", issuer=self._settings.issuer, problem=_said(error))
        finally:
            self._asked += 1

    async def _fetch(self) -> Documents:
        issuer, hosts = self._settings.issuer, self._settings.key_hosts
        status, found = await self._json("GET", discovery_url(issuer))
        if status != 200 or not isinstance(found, dict):
            raise _UnusableError(f"no discovery document, status {status}")
        if found.get("issuer") != issuer:
            raise _UnusableError(
                "its discovery document is of another issuer; auth.oidc.issuer has to be the same text"
            )
        jwks, token, browser = (
            str(found.get(name, "")) for name in ("jwks_uri", "token_endpoint", "authorization_endpoint")
        )
        for url in (jwks, token) if token else (jwks,):
            if not may_ask(url, issuer, hosts):
                raise _UnusableError(f"{url[:200]} is at another host; if that is right, name it in key_hosts")
        status, keys = await self._json("GET", jwks)
        if status != 200:
            raise _UnusableError(f"no keys, status {status}")
        # client_secret_basic is what holds where nothing is said (Discovery, section 3)
        methods = found.get("token_endpoint_auth_methods_supported")
        takes_basic = not isinstance(methods, list) or "client_secret_basic" in methods
        names_itself = found.get("authorization_response_iss_parameter_supported") is True
        return Documents(browser if may_send_browser(browser) else "", token, takes_basic, keys_of(keys), names_itself)

    async def _json(
        self, method: str, url: str, form: Mapping[str, str] | None = None, more: Mapping[str, str] | None = None
    ) -> tuple[int, object]:
        """Raises one of _FAILURES."""
        if self._session is None:
            connector = TCPConnector(limit=_CONNECTIONS, ssl=self._trust)
            # its cookies are none of ours, and a small compressed answer could become a large one
            self._session = ClientSession(connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(more or {})}
        timeout = ClientTimeout(total=self._settings.timeout)
        async with self._session.request(
            method, url, data=form, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            content = b""
            async for chunk in response.content.iter_chunked(65536):
                content += chunk
                if len(content) > MOST_BYTES:
                    raise _UnusableError(f"{url} answers with more than {MOST_BYTES} bytes")
            if 300 <= response.status < 400:
                raise _UnusableError(f"{url} leads elsewhere, which is not followed")
            return response.status, _parsed(content)


class _UnusableError(Exception):
    """What the issuer answers cannot be used; the text is for the log."""


_FAILURES = (_UnusableError, TokenRefusedError, ClientError, TimeoutError, OSError, ValueError)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _trust(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        said = "it has no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise StartupError(f"auth.oidc.ca_file: {ca_file} cannot be used: {said}") from None
