"""Accounts in a data directory or a table, as many as an administrator of a large registry would have made."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from argon2 import PasswordHasher

from registry.domain.access import ANONYMOUS, AccessTable, Account, Grant, Group, Record, encode, key_of, kind_of
from registry.domain.changes import SetRecord
from registry.storage.metadata import sqlite
from registry.storage.metadata.access import set_record

PULLER, PASSWORD = "puller", "the password of a puller"
BASIC = "Basic " + base64.b64encode(f"{PULLER}:{PASSWORD}".encode()).decode()
_GROUP_SIZE = 50


def add_puller(data: Path, pattern: str) -> None:
    """An administrator, and an account that may pull what fits the pattern, in a data directory no server uses."""
    secret = PasswordHasher(time_cost=2, memory_cost=64 * 1024, parallelism=1).hash(PASSWORD)
    records: list[Record] = [
        Account("root", is_admin=True),
        Account(PULLER, secret=secret),
        Grant(PULLER, pattern, ("pull",)),
    ]
    sqlite.prepare(data)
    engine = sqlite.open_engine(data, read_only=False)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for record in records:
                set_record(connection, SetRecord(kind_of(record), key_of(record), encode(record)), time.time())
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def account_name(number: int) -> str:
    return f"account-{number}"


def large_table(accounts: int, grants: int) -> AccessTable:
    """Each account is in a group of 50; half of the grants are to groups, one in a thousand is to everybody."""
    table = AccessTable()
    for record in itertools.chain(_accounts(accounts), _grants(accounts, grants)):
        table.put(record)
    return table


def _accounts(count: int) -> Iterator[Record]:
    yield from (Account(account_name(number)) for number in range(count))
    for group, first in enumerate(range(0, count, _GROUP_SIZE)):
        members = tuple(account_name(number) for number in range(first, min(first + _GROUP_SIZE, count)))
        yield Group(f"group-{group}", members)


def _grants(accounts: int, count: int) -> Iterator[Record]:
    groups = accounts // _GROUP_SIZE
    for number in range(count):
        if number % 1000 == 0:
            yield Grant(ANONYMOUS, f"public-{number}/**", ("pull",))
        elif number % 2:
            yield Grant(f"@group-{number // 2 % groups}", f"team-{number}/*/app-**", ("pull", "push"))
        else:
            yield Grant(account_name(number // 2 % accounts), f"home-{number}/**", ("pull", "push", "delete"))
