"""How the log of a slave becomes its own, when it takes the place of its master, and the other way round."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from registry.domain import events
from registry.domain.access import KEY
from registry.domain.changes import Outcome, Promote, SetStanding
from registry.domain.replica import Upstream
from registry.domain.succession import Claim, Standing
from registry.errors import RequestInvalid
from registry.storage.metadata import cutting, journal, replica
from registry.storage.metadata import statements as sql
from registry.storage.metadata.schema import access_records, head, manifests, pending, properties, tags, upstream_log
from registry.storage.metadata.schema import journal as own_log

_STANDING = properties.c.name == "standing"
STANDING = select(properties.c.value).where(_STANDING)
_SET_STANDING = update(properties).where(_STANDING).values(value=bindparam("new"))
_ADD_STANDING = insert(properties).values(name="standing")
_ADD_UPSTREAM = insert(properties).values(name="upstream")

_COLUMNS = list(own_log.c.keys())
_DROP_OWN, _DROP_UPSTREAM = delete(own_log), delete(upstream_log)
_TAKE_UPSTREAM = insert(own_log).from_select(_COLUMNS, select(upstream_log))
_TAKE_OWN = insert(upstream_log).from_select(_COLUMNS, select(own_log))
_HEAD = select(head.c.serial, head.c.epoch, head.c.chain)
_MOVE_HEAD = update(head).values(
    serial=bindparam("new_serial"), epoch=bindparam("new_epoch"), chain=bindparam("new_chain")
)
_FIRST = select(own_log.c.epoch).order_by(own_log.c.serial).limit(1)
_NOT_OF_A_NEW_NODE = (
    select(func.count()).select_from(own_log).where(own_log.c.kind.not_in((events.EPOCH_BEGIN, f"{events.AUTH}{KEY}")))
)
_WAITING = select(pending).order_by(pending.c.number)
_OWN_KEYS = select(access_records.c.key, access_records.c.value).where(
    access_records.c.kind == KEY, access_records.c.private != ""
)
_MANIFEST = select(manifests.c.media_type, manifests.c.content).where(
    manifests.c.repository_id == bindparam("r"), manifests.c.digest == bindparam("d")
)
_TAG = select(tags.c.digest).where(tags.c.repository_id == bindparam("r"), tags.c.name == bindparam("t"))


def standing(connection: Connection) -> Standing:
    return Standing.of(connection.scalar(STANDING))


def set_standing(connection: Connection, change: SetStanding) -> Outcome:
    if standing(connection) != change.before:
        return Outcome(changed=False)
    _note(connection, change.after)
    return Outcome()


def promote(connection: Connection, change: Promote, now: float) -> Outcome:
    text = connection.scalar(replica.UPSTREAM)
    if text is None:
        known = standing(connection)
        if known.promoted and known.claim is not None and known.claim.id == change.id:
            return Outcome(changed=False)  # the answer was lost
        raise RequestInvalid("this registry is no slave: it takes pushes already")
    upstream = Upstream.of(text)
    if upstream.takes_snapshot:
        raise RequestInvalid("this slave takes a snapshot just now: what it shows is not whole")
    if upstream.is_limited:
        raise RequestInvalid("this slave copies some repositories alone: it cannot take the place of its master")
    untold = list(_taken_back(connection))
    connection.execute(_DROP_OWN)
    connection.execute(_TAKE_UPSTREAM)
    cutting.note_base(connection, upstream.base_serial, upstream.base_chain or events.CHAIN_START.hex())
    number = upstream.epoch + 1
    place = {"new_serial": upstream.serial, "new_epoch": number, "new_chain": bytes.fromhex(upstream.chain)}
    connection.execute(_MOVE_HEAD, place)
    connection.execute(sql.COUNT_UNLINK)  # what processes remember is of other serials
    journal.append(connection, now, events.EPOCH_BEGIN, "", {"id": change.id, "promotion": True})
    for row in connection.execute(_OWN_KEYS).all():
        journal.append(connection, now, f"{events.AUTH}{KEY}", "", {"key": row.key, "value": row.value})
    for repository, kind, payload, content in untold:
        journal.append(connection, now, kind, repository, payload, content)
    replica.detach(connection)
    claim = Claim(number, change.id, upstream.serial, upstream.chain, change.url)
    _note(connection, Standing(claim, promoted=True, former=change.former))
    return Outcome()


def demote(connection: Connection) -> Outcome:
    if connection.scalar(replica.UPSTREAM) is not None or standing(connection).promoted:
        return Outcome(changed=False)
    if not connection.scalar(_NOT_OF_A_NEW_NODE):
        return Outcome(changed=False)
    first, last = connection.execute(_FIRST).one(), connection.execute(_HEAD).one()
    connection.execute(_DROP_UPSTREAM)
    connection.execute(_TAKE_OWN)
    base, chain = cutting.base_of(connection.scalar(cutting.BASE))
    upstream = Upstream(
        serial=last.serial,
        epoch=last.epoch,
        chain=last.chain.hex(),
        base_serial=base,
        base_epoch=first.epoch if base else 0,
        base_chain=chain.hex(),
    )
    connection.execute(_ADD_UPSTREAM, {"value": upstream.to_text()})
    _note(connection, Standing())
    return Outcome()


_Untold = tuple[str, str, dict[str, object], bytes]


def _taken_back(connection: Connection) -> Iterator[_Untold]:
    """Events after which the log says of what waits what is shown: repository, kind, payload and content of each."""
    touched: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for row in connection.execute(_WAITING).all():
        digests, names = touched.setdefault(row.repository, ({}, {}))
        fields = json.loads(row.payload)
        if row.kind in (events.MANIFEST_PUT, events.MANIFEST_DELETE):
            digests[fields["digest"]] = None
        names.update(dict.fromkeys(fields.get("tags", ())))
        if "tag" in fields:
            names[fields["tag"]] = None
    for repository, (digests, names) in touched.items():
        yield from _as_shown(connection, repository, list(digests), names)


def _as_shown(connection: Connection, repository: str, digests: list[str], names: dict[str, None]) -> Iterator[_Untold]:
    known = connection.scalar(sql.REPOSITORY_ID, {"name": repository})
    gone = []
    for digest in digests:
        row = connection.execute(_MANIFEST, {"r": known, "d": digest}).one_or_none()
        if row is None:
            gone.append(digest)
            continue
        names.update(dict.fromkeys(connection.scalars(sql.TAGS_OF, {"r": known, "d": digest})))
        payload: dict[str, object] = {"digest": digest, "media_type": row.media_type, "tags": []}
        yield repository, events.MANIFEST_PUT, payload, row.content
    for name in names:
        shown = connection.scalar(_TAG, {"r": known, "t": name})
        if shown is None:
            yield repository, events.TAG_DELETE, {"tag": name}, b""
        else:
            yield repository, events.TAG_SET, {"tag": name, "digest": shown}, b""
    for digest in gone:
        yield repository, events.MANIFEST_DELETE, {"digest": digest}, b""


def _note(connection: Connection, new: Standing) -> None:
    if connection.execute(_SET_STANDING, {"new": new.to_text()}).rowcount == 0:
        connection.execute(_ADD_STANDING, {"value": new.to_text()})
