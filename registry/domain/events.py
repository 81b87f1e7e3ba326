"""The journal: every change of the metadata as an event in one gap-free, chained order.

Replicas read the journal and nothing else, so each change is written in the same transaction as its
event. The chain makes a fork or a lost event visible: each link is a hash over the one before it and
the event itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

MANIFEST_PUT = "manifest.put"
MANIFEST_DELETE = "manifest.del"
TAG_SET = "tag.set"
TAG_DELETE = "tag.del"
EPOCH_BEGIN = "epoch.begin"
AUTH = "auth."
"""The beginning of the kinds auth.account, auth.group, auth.grant, auth.key, auth.limit, auth.replica."""

CHAIN_START = bytes(32)
"""The link before the first event."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One change. `payload` is a JSON document whose fields depend on `kind`:

    - manifest.put: digest, media_type, tags (the tags that point at it from now on); the manifest's
      bytes travel beside, in `content`
    - tag.set: tag, digest
    - tag.del: tag
    - manifest.del: digest (tags that point at it go with it)
    - epoch.begin: id
    - auth.KIND: key, value (the record of registry.domain.access as a JSON text, "" where it was removed); of no
      repository. Private keys and tokens are never in it, hashes of both tokens and passwords are.
    """

    serial: int
    epoch: int
    time: float
    kind: str
    repository: str
    payload: bytes
    content: bytes
    chain: bytes


def link(
    previous: bytes, serial: int, epoch: int, time: float, kind: str, repository: str, payload: bytes, content: bytes
) -> bytes:
    """The chain after an event: SHA-256 over the chain before it and every field, each with its length."""
    state = hashlib.sha256(previous)
    for part in (
        b"%d" % serial,
        b"%d" % epoch,
        repr(time).encode(),
        kind.encode(),
        repository.encode(),
        payload,
        content,
    ):
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def verify(previous: bytes, event: JournalEvent) -> bool:
    """Whether an event follows on the link `previous`."""
    return event.chain == link(
        previous, event.serial, event.epoch, event.time, event.kind, event.repository, event.payload, event.content
    )


def record_of(kind: str, payload: bytes) -> tuple[str, str, str]:
    """The kind, key and value of the record that an event of the kinds AUTH… sets."""
    fields = json.loads(payload)
    return kind.removeprefix(AUTH), fields["key"], fields["value"]
