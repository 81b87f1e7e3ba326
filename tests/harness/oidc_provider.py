"""An OpenID Connect provider of the tests: discovery, keys that rotate, authorize and token, and what it was asked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import unquote_plus, urlencode

import jwt
from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def make_key(algorithm: str = "ES256") -> Private:
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        curves: dict[str, ec.EllipticCurve] = {
            "ES256": ec.SECP256R1(),
            "ES384": ec.SECP384R1(),
            "ES512": ec.SECP521R1(),
        }
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, 2048)


def public_jwk(key: Private, kid: str | None, **more: object) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        jwk = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    jwk.pop("key_ops", None)
    return jwk | ({"kid": kid} if kid is not None else {}) | more


class OidcProvider:
    """On a free port of 127.0.0.1; an async context manager. `asked` counts the requests by path.

    `claims` go into every ID token; `document` is laid over the discovery document, `answers` over whole answers,
    `returns` over what browsers are sent back with. `secrets`: what nobody may write down of the logins so far.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.client_id, self.client_secret = "shoal", "geheim:+"
        self.keys: dict[str, tuple[str, Private]] = {"first": ("ES256", make_key())}
        self.jwks: dict[str, Any] | None = None
        self.claims: dict[str, Any] = {"sub": "4711", "preferred_username": "Ann"}
        self.document: dict[str, Any] = {}
        self.answers: dict[str, web.Response] = {}
        self.returns: dict[str, str] = {}
        self.secrets: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.suffix = ""
        self.issuer = ""
        self._codes: dict[str, dict[str, str]] = {}
        self._tls = tls
        app = web.Application(middlewares=[self._count])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await self._listen(0)
        return self

    async def _listen(self, port: int) -> None:
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._tls).start()
        scheme = "http" if self._tls is None else "https"
        self.issuer = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}{self.suffix}"

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return self.issuer.removesuffix(self.suffix) if self.suffix else self.issuer

    def rotate(self, kid: str, algorithm: str = "ES256") -> None:
        """A new key in place of all others."""
        self.keys = {kid: (algorithm, make_key(algorithm))}

    def token(self, kid: str | None = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token by one of our keys; a claim of None is left out."""
        kid = kid or next(iter(self.keys))
        algorithm, key = self.keys[kid]
        now = int(time.time())
        whole = {"iss": self.issuer, "aud": "registry", "sub": "job", "iat": now, "exp": now + 300} | claims
        kept = {name: value for name, value in whole.items() if value is not None}
        # by PyJWS, which signs claims that PyJWT would not
        return jwt.PyJWS().encode(json.dumps(kept).encode(), key, algorithm, headers={"kid": kid} | (headers or {}))

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] += 1
        if request.path in self.answers:
            given = self.answers[request.path]
            return web.Response(status=given.status, body=given.body, headers=given.headers)
        return await handler(request)  # type: ignore[no-any-return]

    async def _discovery(self, _request: web.Request) -> web.Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return web.json_response(document | self.document)

    async def _keys(self, _request: web.Request) -> web.Response:
        listed = [public_jwk(key, kid) for kid, (_, key) in self.keys.items()]
        return web.json_response(self.jwks or {"keys": listed})

    async def _authorize(self, request: web.Request) -> web.Response:
        """Lets everybody in."""
        asked = dict(request.query)
        if asked["client_id"] != self.client_id or asked["response_type"] != "code" or "tenant" not in asked:
            return web.Response(status=400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        self.secrets |= {code, asked["state"], asked["nonce"]}
        back = {"code": code, "state": asked["state"]} | self.returns
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode(back)}")

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        asked = self._codes.pop(str(form.get("code")), None)
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != proof or asked["code_challenge_method"] != "S256":
            return web.json_response({"error": "invalid_grant"}, status=400)
        if asked["redirect_uri"] != form["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = self.token(**{"aud": self.client_id, "nonce": asked["nonce"]} | self.claims)
        self.secrets |= {str(form["code_verifier"]), token}
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": token})

    def _is_client(self, request: web.Request, form: dict[str, Any]) -> bool:
        if "Authorization" in request.headers:
            login = BasicAuth.decode(request.headers["Authorization"], "utf-8")
            return (unquote_plus(login.login), unquote_plus(login.password)) == (self.client_id, self.client_secret)
        return (form.get("client_id"), form.get("client_secret", "")) == (self.client_id, self.client_secret)


@contextmanager
def in_background(provider: OidcProvider) -> Iterator[OidcProvider]:
    """One that answers from a thread of its own, for tests that wait for their clients."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(provider.__aenter__(), loop).result(30)
        try:
            yield provider
        finally:
            asyncio.run_coroutine_threadsafe(provider.__aexit__(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token of any header, however wrong."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
