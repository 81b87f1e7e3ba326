"""People and jobs who are known elsewhere, at a server: what they show, and what their grants are worth."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import bcrypt
import jwt
import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conftest import StartShoal
from tests.harness.administration import Commands
from tests.harness.certificates import Authority
from tests.harness.oidc_provider import OidcProvider, make_key
from tests.harness.server import ShoalServer


def asked(server: ShoalServer, repository: str, **shown: Any) -> int:
    """The status of a GET of a manifest that is not there: 404 for whoever may pull."""
    url = f"{server.url}/v2/{repository}/manifests/latest"
    return requests.get(url, timeout=30, **shown).status_code


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_file_of_passwords(start_shoal: StartShoal, tmp_path: Path, workers: int) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"carol:{bcrypt.hashpw(b'the password of carol', bcrypt.gensalt(4)).decode()}\n")
    server = start_shoal(settings={"auth": {"htpasswd": str(file)}}, workers=workers)
    carol = ("carol", "the password of carol")
    assert asked(server, "team/app") == 401
    assert asked(server, "team/app", auth=carol) == 403
    Commands("--data", server.data)("grant", "set", "carol", "team/**", "pull")
    assert asked(server, "team/app", auth=carol) == 404
    assert asked(server, "other/app", auth=carol) == 403
    assert asked(server, "team/app", auth=("carol", "a wrong password")) == 401
    token = requests.get(
        f"{server.url}/auth/token", params={"scope": "repository:team/app:pull"}, auth=carol, timeout=30
    ).json()["token"]
    assert asked(server, "team/app", headers={"Authorization": f"Bearer {token}"}) == 404
    file.write_text("")
    assert asked(server, "team/app", auth=("carol", "the password of carol ")) == 401


@pytest.mark.require("openssl")
def test_a_certificate(start_shoal: StartShoal, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair, shown = authority.server("127.0.0.1"), authority.client("builder", "/CN=build1/OU=builders")
    tls = {"cert": str(pair.certificate), "key": str(pair.key), "client_ca": str(authority.ca)}
    server = start_shoal(tls=tls)
    shoal = Commands("--data", server.data)
    shoal("user", "add", "alice", "--admin", "--password-stdin", text="correct horse battery\n")
    options = {"verify": str(authority.ca), "cert": (str(shown.certificate), str(shown.key))}
    assert asked(server, "team/app", verify=options["verify"]) == 401
    shoal("grant", "set", "@builders", "team/**", "pull,push")
    assert asked(server, "team/app", **options) == 404
    who = requests.get(f"{server.url}/api/v1/whoami", timeout=30, **options).json()  # type: ignore[arg-type]
    assert who == {"name": "build1", "is_admin": False, "groups": ["builders"]}


def test_a_token_service_of_ones_own(start_shoal: StartShoal, tmp_path: Path) -> None:
    key, file = make_key(), tmp_path / "keys.pem"
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    token = {"realm": "https://id.example/token", "service": "shoal", "issuer": "id", "keys": str(file)}
    server = start_shoal(env={f"SHOAL_AUTH__TOKEN__{name.upper()}": text for name, text in token.items()}, workers=2)
    refused = requests.get(f"{server.url}/v2/", timeout=30)
    assert refused.status_code == 401
    assert 'realm="https://id.example/token"' in refused.headers["WWW-Authenticate"]
    now = int(time.time())
    access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    claims = {"iss": "id", "aud": "shoal", "sub": "ann", "exp": now + 300, "nbf": now, "iat": now, "access": access}
    bearer = {"Authorization": f"Bearer {jwt.encode(claims, key, 'ES256')}"}
    assert asked(server, "team/app", headers=bearer) == 404
    assert asked(server, "team/other", headers=bearer) == 401
    assert requests.delete(f"{server.url}/v2/team/app/manifests/x", headers=bearer, timeout=30).status_code == 401
    forged = {"Authorization": f"Bearer {jwt.encode(claims, make_key(), 'ES256')}"}
    assert asked(server, "team/app", headers=forged) == 401


async def test_the_token_of_a_job(start_shoal: StartShoal) -> None:
    async with OidcProvider() as provider:
        rule = {"claims": {"repository": "team/app", "ref": "refs/heads/*"}, "account": "ci"}
        oidc = [{"issuer": provider.issuer, "audience": "registry", "rules": [rule]}]
        server = await asyncio.to_thread(start_shoal, env={"SHOAL_AUTH__OIDC": json.dumps(oidc)})
        shoal = Commands("--data", server.data)
        await asyncio.to_thread(shoal, "grant", "set", "ci", "team/**", "pull,push")
        good = provider.token(aud="registry", repository="team/app", ref="refs/heads/main")
        other = provider.token(aud="registry", repository="team/evil", ref="refs/heads/main")
        assert await asyncio.to_thread(asked, server, "team/app", auth=("token", good)) == 404
        assert await asyncio.to_thread(asked, server, "other/app", auth=("token", good)) == 403
        assert await asyncio.to_thread(asked, server, "team/app", auth=("token", other)) == 401
        assert await asyncio.to_thread(asked, server, "team/app", auth=("ci", good)) == 401
