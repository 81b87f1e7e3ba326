"""Accounts in a data directory before its server starts, and tokens that a test signs with the server's own key."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.auth.accounts import AccountService
from registry.auth.keys import KeyRotation
from registry.auth.passwords import Passwords
from registry.auth.replicas import ReplicaService
from registry.auth.tokens import REFRESH_LIFETIME
from registry.commands.offline import held
from registry.config import Settings, load
from registry.domain.clock import system_clock
from registry.storage.metadata.access import CurrentAccess
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from registry.wiring import database_of

ADMIN = "root"
Grants = Iterable[tuple[str, str, str]]
"""Subject, pattern, rights."""


def password_of(name: str) -> str:
    return f"the password of {name}"


@dataclass(frozen=True, slots=True)
class OfflineAccess:
    accounts: AccountService
    keys: KeyRotation
    replicas: ReplicaService


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[OfflineAccess]:
    database, commits, passwords = database_of(settings), CommitCounter.create(), Passwords()
    reader = database.reader()
    writer = GroupCommitWriter(database.transactions(), commits, system_clock, lambda _count, _serial: None)
    access = CurrentAccess(reader, database.freshness(reader, commits))
    writer.start()
    try:
        service = AccountService(access, writer, passwords, system_clock)
        keys = KeyRotation(access, reader, writer, system_clock, REFRESH_LIFETIME)
        yield OfflineAccess(service, keys, ReplicaService(access, writer, system_clock))
    finally:
        await writer.stop()
        await reader.close()
        commits.close()
        passwords.close()


def with_accounts(
    data: Path,
    users: Iterable[str] = (),
    grants: Grants = (),
    *,
    groups: Mapping[str, Iterable[str]] | None = None,
    robots: Mapping[str, float | None] | None = None,
    disabled: Iterable[str] = (),
    replicas: Iterable[str] | Mapping[str, Sequence[str]] = (),
    heirs: Iterable[str] = (),
    url: str = "",
) -> dict[str, str]:
    """Makes an administrator ADMIN and these `users`, each with password_of its name; returns the secrets of `robots`
    and the tokens of `replicas`, and of `heirs`, which may promote.

    `robots`: seconds that they live, by name;
    `replicas`: names, or patterns by name. `url`: of the database, where it is not in the data directory.
    """
    settings = load(None, {"data": str(data), **({"database.url": url} if url else {})})
    secrets: dict[str, str] = {}

    async def make() -> None:
        async with _opened(settings) as node:
            await node.accounts.add_user(ADMIN, password_of(ADMIN), is_admin=True)
            for name in users:
                await node.accounts.add_user(name, password_of(name), is_admin=False)
            for name, lifetime in (robots or {}).items():
                _, secrets[name] = await node.accounts.create_robot(name, [], lifetime)
            for name in replicas:
                patterns = replicas[name] if isinstance(replicas, Mapping) else ()
                _, secrets[name] = await node.replicas.create(name, patterns)
            for name in heirs:
                _, secrets[name] = await node.replicas.create(name, may_promote=True)
            for group, members in (groups or {}).items():
                for member in members:
                    await node.accounts.set_member(group, member, is_member=True)
            for subject, pattern, rights in grants:
                await node.accounts.grant(subject, pattern, rights)
            for name in disabled:
                await node.accounts.change(name, is_disabled=True)
            await node.keys.rotate_if_due()

    with held(settings, may_be_new=True):
        asyncio.run(make())
    return secrets


def signing_key(data: Path) -> tuple[str, Ed25519PrivateKey]:
    """The id and the private half of a key of the server, read behind its back."""
    with sqlite3.connect(f"file:{data / 'shoal.db'}?mode=ro", uri=True) as connection:
        key_id, pem = connection.execute("SELECT key, private FROM access_records WHERE kind = 'key'").fetchone()
    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, Ed25519PrivateKey)
    return key_id, private
