"""A server with accounts, which the tests of rights share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from tests.harness.accounts import ADMIN, password_of, signing_key, with_accounts
from tests.harness.client import RegistryClient
from tests.harness.hooked import Hooks, hooks
from tests.harness.server import ShoalServer
from tests.rights.visitors import GRANTS, USERS, Keys


@dataclass(frozen=True)
class Guarded:
    """`as_admin` may do everything."""

    server: ShoalServer
    keys: Keys
    as_admin: RegistryClient


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A client may say where it comes from by X-Forwarded-For. The server must not log errors."""
    data = tmp_path_factory.mktemp("rights") / "data"
    secrets = with_accounts(
        data,
        USERS,
        GRANTS,
        groups={"readers": ["member"]},
        robots={"machine": 3600.0, "expired-machine": 0.0},
        disabled=["barred"],
        replicas=["copier"],
        heirs=["heir"],
    )
    key_id, private = signing_key(data)
    settings = {"server": {"trusted_proxies": ["127.0.0.0/8"]}}
    with ShoalServer(data, settings=settings) as server, RegistryClient(server.url) as client:
        client.session.auth = (ADMIN, password_of(ADMIN))
        yield Guarded(server, Keys(key_id, private, secrets), client)
    assert not server.complaints()


@dataclass(frozen=True)
class Town:
    """A server in which everybody has a folder of their own: NAME/**; and all may push to shared/**."""

    server: ShoalServer
    hooks: Hooks
    keys: Keys

    def client(self, name: str) -> RegistryClient:
        """Of an account, by its password; "" for nobody."""
        client = RegistryClient(self.server.url)
        if name:
            client.session.auth = (name, password_of(name))
        return client

    def token(self, name: str, *scopes: str) -> str:
        params = [("service", "shoal"), *(("scope", scope) for scope in scopes)]
        auth = (name, password_of(name)) if name else None
        answer = requests.get(f"{self.server.url}/auth/token", params=params, auth=auth, timeout=30)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token

    def bearing(self, token: str) -> RegistryClient:
        client = RegistryClient(self.server.url)
        client.session.headers["Authorization"] = f"Bearer {token}"
        return client

    def newcomer(self, name: str) -> str:
        """An account for one test."""
        self.hooks.accounts("add_user", name, password_of(name), is_admin=False)
        self.hooks.accounts("grant", name, f"{name}/**", "pull,push,delete")
        self.hooks.accounts("grant", name, "shared/**", "pull,push")
        return name


CITIZENS = ("ann", "bob")


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    data = tmp_path_factory.mktemp("town") / "data"
    grants = [(name, f"{name}/**", "pull,push,delete") for name in CITIZENS]
    grants += [(name, "shared/**", "pull,push") for name in CITIZENS]
    with_accounts(data, CITIZENS, [*grants, ("anonymous", "open/**", "pull")])
    key_id, private = signing_key(data)
    with ShoalServer(data, prefix=hooks()) as server:
        yield Town(server, Hooks(server), Keys(key_id, private, {}))
    assert not server.complaints()
