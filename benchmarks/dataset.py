"""A data directory of any size, written straight into the tables.

It holds what as many pushes would have left there, but for the files of the blobs: nothing that is measured on
it opens one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, Table, insert, select, update

from benchmarks.load.content import image_manifest, sha256
from registry.domain import events, manifest
from registry.domain.manifest import Manifest
from registry.storage.metadata import schema, sqlite

MANY = "bench/many"
"""The repository that has all tags."""
FEW = "bench/few"
"""A repository with the first `FEW_TAGS` of these images."""
FEW_TAGS = 100

_ROWS_AT_ONCE = 1000
_BLOB_SIZE = 4096

Values = Mapping[str, object]


def tag_name(number: int) -> str:
    """Names sort as their numbers do."""
    return f"tag-{number:09}"


def fill(data: Path, blobs: int, tags: int) -> None:
    """Write `blobs` blobs and `tags` images, one tag each, that share the blobs out among them.

    Raises ValueError where an image would have no blob, or where there are fewer tags than `FEW_TAGS`.
    """
    if not FEW_TAGS <= tags <= blobs:
        raise ValueError(f"expected {FEW_TAGS} <= tags <= blobs, got {tags} tags and {blobs} blobs")
    data.mkdir(parents=True, exist_ok=True)
    sqlite.prepare(data)
    engine = sqlite.open_engine(data, read_only=False)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous=OFF")  # a crash costs the measurement only
            connection.exec_driver_sql("PRAGMA cache_size=-1000000")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _insert(connection, schema.repositories, [{"id": 1, "name": MANY}, {"id": 2, "name": FEW}])
            _insert(connection, schema.blobs, _blobs(blobs))
            _fill_repository(connection, 1, MANY, blobs, tags, tags)
            _fill_repository(connection, 2, FEW, blobs, tags, FEW_TAGS)
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def add_images(data: Path, like: Mapping[str, bytes], count: int, first: int = 0) -> None:
    """Write `count` more images into a data directory that no server uses, a tag and an event each.

    `like`: manifests by the repository that has them and their blobs; each new image is one of these with an
    annotation, in the repositories in turn, so that no new blob is needed. The tags are numbered from `first`.
    """
    engine = sqlite.open_engine(data, read_only=False)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            known = {row.name: row.id for row in connection.execute(select(schema.repositories))}
            for place, (name, content) in enumerate(like.items()):
                numbers = range(first + place, first + count, len(like))
                made = [(tag_name(number), _annotated(content, number)) for number in numbers]
                _insert_images(connection, known[name], name, made)
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def _annotated(content: bytes, number: int) -> Manifest:
    document = {**json.loads(content), "annotations": {"number": str(number)}}
    return manifest.parse(json.dumps(document).encode(), None, "sha256")


def _insert_images(connection: Connection, key: int, name: str, images: Sequence[tuple[str, Manifest]]) -> None:
    tags = ({"repository_id": key, "name": tag, "digest": str(image.digest)} for tag, image in images)
    _insert(connection, schema.manifests, (_manifest_row(key, image) for _, image in images))
    _insert(connection, schema.references, (row for _, image in images for row in _reference_rows(key, image)))
    _insert(connection, schema.tags, tags)
    _append_to_journal(connection, name, images)


def _digest(number: int) -> str:
    return sha256(b"blob %d" % number)


def _blobs(count: int) -> Iterator[Values]:
    return ({"digest": _digest(number), "size": _BLOB_SIZE} for number in range(count))


def _image(number: int, blobs: int, tags: int) -> Manifest:
    """Image `number` of `tags`: it has every blob whose number leaves that remainder."""
    config, *layers = (_digest(blob) for blob in range(number, blobs, tags))
    content = image_manifest((config, _BLOB_SIZE), [(layer, _BLOB_SIZE) for layer in layers])
    return manifest.parse(content, None, "sha256")


def _fill_repository(connection: Connection, key: int, name: str, blobs: int, tags: int, count: int) -> None:
    """The first `count` images. Each table is filled in a pass of its own, so that few rows are in memory."""

    def images() -> Iterator[tuple[str, Manifest]]:
        return ((tag_name(number), _image(number, blobs, tags)) for number in range(count))

    links = ((str(target), None) for _, image in images() for target, _ in image.refs)
    _insert(
        connection,
        schema.blob_links,
        ({"digest": digest, "repository_id": key, "unneeded_since": since} for digest, since in links),
    )
    _insert(connection, schema.manifests, (_manifest_row(key, image) for _, image in images()))
    _insert(connection, schema.references, (row for _, image in images() for row in _reference_rows(key, image)))
    _insert(
        connection,
        schema.tags,
        ({"repository_id": key, "name": tag, "digest": str(image.digest)} for tag, image in images()),
    )
    _append_to_journal(connection, name, images())


def _manifest_row(repository: int, image: Manifest) -> Values:
    return {
        "repository_id": repository,
        "digest": str(image.digest),
        "media_type": image.media_type,
        "content": image.content,
        "subject": image.subject,
        "artifact_type": image.artifact_type,
        "annotations": json.dumps(dict(image.annotations)),
    }


def _reference_rows(repository: int, image: Manifest) -> Iterator[Values]:
    for target, kind in image.refs:
        yield {"repository_id": repository, "manifest": str(image.digest), "target": target, "kind": str(kind)}


def _append_to_journal(connection: Connection, repository: str, images: Iterable[tuple[str, Manifest]]) -> None:
    head = connection.execute(select(schema.head)).one()
    serial, chain, now = head.serial, head.chain, time.time()

    def rows() -> Iterator[Values]:
        nonlocal serial, chain
        for tag, image in images:
            document = {"digest": str(image.digest), "media_type": image.media_type, "tags": [tag]}
            payload = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
            event = (head.epoch, now, events.MANIFEST_PUT, repository, payload, image.content)
            serial += 1
            chain = events.link(chain, serial, *event)
            names = ("epoch", "time", "kind", "repository", "payload", "content")
            yield {**dict(zip(names, event, strict=True)), "serial": serial, "chain": chain}

    _insert(connection, schema.journal, rows())
    connection.execute(update(schema.head).values(serial=serial, chain=chain))


def _insert(connection: Connection, table: Table, rows: Iterable[Values]) -> None:
    pending = iter(rows)
    while batch := list(islice(pending, _ROWS_AT_ONCE)):
        connection.execute(insert(table), batch)
