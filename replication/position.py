"""Where a slave says that it is in the log, and whether it is there in ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from registry.domain.events import CHAIN_START, EPOCH_BEGIN
from registry.errors import LogCutOff, LogForked, RequestInvalid
from registry.ports.replication import FeedReader, LogPosition
from replication.wire import Takeover

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Known:
    """The last event that a slave has; serial 0, epoch 0 and CHAIN_START where it has none."""

    serial: int
    epoch: int
    chain: bytes


def parse(query: Mapping[str, str]) -> Known:
    """after, epoch and chain as a slave sends them; without any of them it has nothing yet. Raises RequestInvalid."""
    serial, epoch = _number(query, "after"), _number(query, "epoch")
    try:
        chain = bytes.fromhex(query.get("chain", "")) or CHAIN_START
    except ValueError as error:
        raise RequestInvalid("chain is hexadecimal") from error
    if len(chain) != len(CHAIN_START):
        raise RequestInvalid(f"chain has {2 * len(CHAIN_START)} hexadecimal digits")
    return Known(serial, epoch, chain)


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST):
        raise RequestInvalid(f"{name} is a whole number", {name: text[:64]})
    return int(text)


async def check(reader: FeedReader, known: Known) -> LogPosition:
    """The end of the log, where the slave can follow it from its position.

    Raises LogForked where what it has is not of this log, LogCutOff where what it needs next is not kept any more.
    """
    head = await reader.log_position()
    if known.serial > head.serial:
        raise await _fork(reader, "the log does not go that far", known, head, head.serial)
    if known.serial == 0:
        if known.chain != CHAIN_START:
            raise await _fork(reader, "the log begins otherwise", known, head, 0)
    else:
        event = await reader.log_event(known.serial)
        if event is None:
            raise _cut_off(known, head)
        if event.epoch != known.epoch:
            common = await last_of_epoch(reader, known.epoch, known.serial)
            what = "that event is of another epoch here"
            raise await _fork(reader, what, known, head, min(common, known.serial - 1))
        if event.chain != known.chain:
            raise await _fork(reader, "another event has that serial here", known, head, known.serial - 1)
    if known.serial < head.serial and await reader.log_event(known.serial + 1) is None:
        raise _cut_off(known, head)
    return head


async def last_of_epoch(reader: FeedReader, epoch: int, before: int) -> int:
    """The last serial up to `before` of that epoch or an earlier one: epochs only grow along a log."""
    low, high = 0, before
    while low < high:
        middle = (low + high + 1) // 2
        event = await reader.log_event(middle)
        if event is None or event.epoch <= epoch:  # what was cut off is the oldest
            low = middle
        else:
            high = middle - 1
    return low


async def takeover(reader: FeedReader, epoch: int, head: LogPosition) -> Takeover | None:
    """How the epoch after this one began, where another node took the place of the master then."""
    if head.epoch <= epoch:
        return None
    last = await last_of_epoch(reader, epoch, head.serial)
    before, begin = await reader.log_event(last), await reader.log_event(last + 1)
    if before is None or begin is None or begin.kind != EPOCH_BEGIN:
        return None
    fields = json.loads(begin.payload)
    if not fields.get("promotion"):
        return None
    return Takeover(last, before.chain.hex(), begin.epoch, fields["id"])


async def epoch_of(reader: FeedReader, head: LogPosition) -> tuple[str, bool]:
    """The id of the epoch that the log is in, "" where its beginning is not kept any more, and whether another node
    took the place of the master then."""
    begin = await reader.log_event(await last_of_epoch(reader, head.epoch - 1, head.serial) + 1)
    if begin is None or begin.kind != EPOCH_BEGIN:
        return "", False
    fields = json.loads(begin.payload)
    return fields["id"], bool(fields.get("promotion"))


async def _fork(reader: FeedReader, what: str, known: Known, head: LogPosition, at_most: int) -> LogForked:
    detail: dict[str, object] = {
        "after": known.serial,
        "in_common_at_most": at_most,
        "head": head.serial,
        "epoch": head.epoch,
    }
    if (found := await takeover(reader, known.epoch, head)) is not None:
        detail["takeover"] = msgspec.to_builtins(found)
    return LogForked(f"{what}: this is not the log that was followed so far", detail)


def _cut_off(known: Known, head: LogPosition) -> LogCutOff:
    return LogCutOff("the log is not kept that far back: take a snapshot", {"after": known.serial, "head": head.serial})
