"""Records of accounts, groups, grants and keys: the same rules in memory and in each database."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from registry.domain import events
from registry.domain.access import (
    ACCOUNT,
    GRANT,
    GROUP,
    KEY,
    Account,
    Grant,
    Group,
    PublicKey,
    Record,
    encode,
    key_of,
    kind_of,
)
from registry.domain.changes import SetRecord
from registry.errors import AccessChanged, AccessExists, AccessRefused, AccessUnknown
from tests.contracts.adapters import Metadata

ALICE = Account("alice", secret="hash", is_admin=True)
BOB = Account("bob", secret="other hash")
RECORDS: tuple[Record, ...] = (
    ALICE,
    BOB,
    Group("devs", ("bob",)),
    Grant("@devs", "team/**", ("pull", "push")),
    PublicKey("k1", "PEM", 1.0),
)


def put(record: Record, expected: str = "any", private: str = "") -> SetRecord:
    return SetRecord(kind_of(record), key_of(record), encode(record), private, expected)


def drop(kind: str, key: str, expected: str = "any") -> SetRecord:
    return SetRecord(kind, key, "", expected=expected)


async def known(metadata: Metadata) -> dict[tuple[str, str], str]:
    return {(kind, key): value for kind, key, value in await metadata.access.records()}


async def told(metadata: Metadata) -> list[tuple[str, str, str]]:
    return list(await metadata.access.record_changes(0, 1000) or ())


async def test_each_kind_is_set_read_changed_and_dropped(metadata: Metadata) -> None:
    for record in RECORDS:
        assert (await metadata.changes.submit(put(record))).changed
    assert await known(metadata) == {(kind_of(record), key_of(record)): encode(record) for record in RECORDS}
    after = replace(BOB, is_disabled=True)
    await metadata.changes.submit(put(after, "known"))
    assert (await known(metadata))[ACCOUNT, "bob"] == encode(after)
    for kind, key in ((ACCOUNT, "bob"), (GROUP, "devs"), (GRANT, "@devs team/**"), (KEY, "k1")):
        await metadata.changes.submit(drop(kind, key, "known"))
    assert await known(metadata) == {(ACCOUNT, "alice"): encode(ALICE)}


async def test_every_change_is_an_event_and_a_repetition_is_none(metadata: Metadata) -> None:
    await metadata.changes.submit(put(ALICE, "new"))
    assert not (await metadata.changes.submit(put(ALICE, "new"))).changed
    await metadata.changes.submit(put(BOB))
    await metadata.changes.submit(drop(ACCOUNT, "bob"))
    assert not (await metadata.changes.submit(drop(ACCOUNT, "bob"))).changed
    assert await told(metadata) == [
        (ACCOUNT, "alice", encode(ALICE)),
        (ACCOUNT, "bob", encode(BOB)),
        (ACCOUNT, "bob", ""),
    ]
    journal = await metadata.journal.events(1, 100)
    assert [(event.kind, event.repository) for event in journal] == [(f"{events.AUTH}{ACCOUNT}", "")] * 3
    assert [json.loads(event.payload)["key"] for event in journal] == ["alice", "bob", "bob"]
    assert events.verify(journal[0].chain, journal[1])


async def test_changes_are_read_from_where_somebody_was(metadata: Metadata) -> None:
    await metadata.changes.submit(put(ALICE))
    serial = (await metadata.journal.events(0, 1000))[-1].serial
    assert await metadata.access.record_changes(serial, 10) == []
    await metadata.changes.submit(put(BOB))
    assert [key for _, key, _ in await metadata.access.record_changes(serial, 10) or ()] == ["bob"]


async def test_the_private_half_of_a_key_is_in_no_list_and_no_event(metadata: Metadata) -> None:
    key = PublicKey("k1", "PUBLIC", 1.0)
    await metadata.changes.submit(put(key, private="THE PRIVATE HALF"))
    assert await metadata.access.private_key("k1") == "THE PRIVATE HALF"
    assert await metadata.access.private_key("k2") is None
    assert "PRIVATE HALF" not in str(await metadata.access.records())
    assert "PRIVATE HALF" not in str(await told(metadata))
    assert all(b"PRIVATE HALF" not in event.payload + event.content for event in await metadata.journal.events(0, 100))
    await metadata.changes.submit(drop(KEY, "k1"))
    assert await metadata.access.private_key("k1") is None


async def test_what_is_expected_to_stand_there(metadata: Metadata) -> None:
    await metadata.changes.submit(put(ALICE, "new"))
    other = replace(ALICE, secret="another hash")
    refused = (
        (put(other, "new"), AccessExists),
        (put(BOB, "known"), AccessUnknown),
        (drop(GRANT, "bob team/**", "known"), AccessUnknown),
        (put(replace(ALICE, secret="third"), encode(other)), AccessChanged),
        (put(BOB, encode(BOB)[:-1] + " }"), AccessChanged),
    )
    for change, error in refused:
        with pytest.raises(error):
            await metadata.changes.submit(change)
    assert len(await told(metadata)) == 1
    await metadata.changes.submit(put(other, encode(ALICE)))
    # The same once more, as its answer may have been lost.
    assert not (await metadata.changes.submit(put(other, encode(ALICE)))).changed


async def test_somebody_remains_who_may_administer(metadata: Metadata) -> None:
    await metadata.changes.submit(put(ALICE))
    last = (drop(ACCOUNT, "alice"), put(replace(ALICE, is_disabled=True)), put(replace(ALICE, is_admin=False)))
    for change in last:
        with pytest.raises(AccessRefused):
            await metadata.changes.submit(change)
    await metadata.changes.submit(put(replace(BOB, is_admin=True, is_disabled=True)))
    with pytest.raises(AccessRefused):  # a disabled one cannot
        await metadata.changes.submit(last[0])
    await metadata.changes.submit(put(replace(BOB, is_admin=True)))
    await metadata.changes.submit(last[0])
    with pytest.raises(AccessRefused):
        await metadata.changes.submit(drop(ACCOUNT, "bob"))
