"""The parts that decide who asks, on metadata in memory and a clock that stands still."""

from __future__ import annotations

from registry.auth.accounts import AccountService
from registry.auth.keys import KeyRing, KeyRotation
from registry.auth.passwords import Passwords
from registry.auth.tokens import REFRESH_LIFETIME
from registry.domain.access import AccessTable, decode
from registry.storage.memory.metadata import MemoryMetadata
from tests.contracts.adapters import ManualClock


class MemoryAccess:
    """The table of the records in memory, made anew for each question."""

    def __init__(self, metadata: MemoryMetadata) -> None:
        self._metadata = metadata

    async def table(self, *, looks_once: bool = False) -> AccessTable:
        table = AccessTable()
        for kind, _, value in await self._metadata.records():
            table.put(decode(kind, value))
        return table


class Node:
    """One node with accounts; `hasher` stands for Argon2 where a test is not about it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metadata = MemoryMetadata(self.clock)
        self.access = MemoryAccess(self.metadata)
        self.passwords = PlainPasswords()
        self.accounts = AccountService(self.access, self.metadata, self.passwords, self.clock)
        self.rotation = KeyRotation(self.access, self.metadata, self.metadata, self.clock, REFRESH_LIFETIME)
        self.ring = KeyRing(self.metadata)


class PlainPasswords(Passwords):
    """Counts what would be work, and does none. `meanwhile` runs while a password is hashed."""

    def __init__(self) -> None:
        super().__init__()
        self.compared = 0

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def fits(self, secret: str, password: str) -> bool:
        self.compared += 1
        return secret == f"hash of {password}"
