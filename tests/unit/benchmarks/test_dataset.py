"""A filled data directory is what as many pushes would have made."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from benchmarks import processes
from benchmarks.dataset import FEW, FEW_TAGS, MANY, fill, tag_name
from benchmarks.load.http import LoadError
from benchmarks.load.pages import page_time
from registry.domain import events, manifest
from registry.domain.changes import LinkBlob, PutManifest
from registry.domain.events import JournalEvent
from registry.storage.metadata import schema, sqlite
from registry.storage.metadata.apply import apply

BLOBS, TAGS = 350, 120
COLUMNS = {
    schema.repositories: ("id", "name"),
    schema.blobs: ("digest", "size"),
    schema.blob_links: ("digest", "repository_id", "unneeded_since"),
    schema.manifests: tuple(schema.manifests.columns.keys()),
    schema.references: ("repository_id", "manifest", "target", "kind"),
    schema.tags: ("repository_id", "name", "digest"),
    # The time differs, and with it the chain.
    schema.journal: ("serial", "epoch", "kind", "repository", "payload", "content"),
    schema.garbage: ("digest",),
}


def rows(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        tables = {
            table.name: [tuple(row) for row in connection.execute(select(*(table.c[name] for name in names)))]
            for table, names in COLUMNS.items()
        }
    tables["journal"] = tables["journal"][1:]  # the first begins an epoch and has a random id
    return {name: sorted(found, key=repr) for name, found in tables.items()}


def push_again(engine: Engine, filled: Engine) -> None:
    """Make the same images by the changes that a push makes."""
    with engine.connect() as connection, filled.connect() as source:
        sizes = {row.digest: row.size for row in source.execute(select(schema.blobs))}
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for row in source.execute(select(schema.journal).where(schema.journal.c.serial > 1)):
            image = manifest.parse(row.content, None, "sha256")
            for digest, _ in image.refs:
                apply(connection, LinkBlob(row.repository, digest, sizes[digest]), 1.0)
            [tag] = [
                tag.name
                for tag in source.execute(
                    select(schema.tags.c.name)
                    .join(schema.repositories)
                    .where(schema.tags.c.digest == str(image.digest), schema.repositories.c.name == row.repository)
                )
            ]
            apply(connection, PutManifest(row.repository, image, (tag,)), 2.0)
        connection.exec_driver_sql("COMMIT")


@pytest.fixture
def filled(tmp_path: Path) -> Engine:
    fill(tmp_path / "filled", BLOBS, TAGS)
    return sqlite.open_engine(tmp_path / "filled", read_only=True)


def test_is_what_pushes_would_have_made(filled: Engine, tmp_path: Path) -> None:
    (tmp_path / "pushed").mkdir()
    sqlite.prepare(tmp_path / "pushed")
    pushed = sqlite.open_engine(tmp_path / "pushed", read_only=False)
    push_again(pushed, filled)
    assert rows(filled) == rows(pushed)


def test_has_what_was_asked_for(filled: Engine) -> None:
    found = rows(filled)
    assert len(found["blobs"]) == BLOBS
    names = {key: [row[1] for row in found["tags"] if row[0] == key] for key, _ in found["repositories"]}
    assert found["repositories"] == [(1, MANY), (2, FEW)]
    assert names[1] == [tag_name(number) for number in range(TAGS)]
    assert names[2] == names[1][:FEW_TAGS]


def test_journal_is_chained(filled: Engine) -> None:
    previous = events.CHAIN_START
    with filled.connect() as connection:
        journal = connection.execute(select(schema.journal).order_by(schema.journal.c.serial)).all()
        head = connection.execute(select(schema.head)).one()
    for serial, row in enumerate(journal, start=1):
        event = JournalEvent(
            row.serial, row.epoch, row.time, row.kind, row.repository, row.payload, row.content, row.chain
        )
        assert row.serial == serial
        assert events.verify(previous, event)
        previous = row.chain
    assert (head.serial, head.chain) == (len(journal), previous)


def test_shoal_serves_it_page_by_page(filled: Engine, tmp_path: Path) -> None:
    filled.dispose()
    with processes.shoal(tmp_path / "filled", tmp_path / "log", workers=1, environment={}) as server:
        assert page_time(server, f"/v2/{FEW}/tags/list?n={FEW_TAGS}", FEW_TAGS, 3) > 0
        last = tag_name(TAGS - 50 - 1)
        assert page_time(server, f"/v2/{MANY}/tags/list?n=50&last={last}", 50, 3) > 0
        for target, entries in ((f"/v2/{MANY}/tags/list?n=50", 50), (f"/v2/{FEW}/tags/list?n={FEW_TAGS}", 50)):
            with pytest.raises(LoadError, match="not a last page"):
                page_time(server, target, entries, 1)


def test_bounds(tmp_path: Path) -> None:
    for blobs, tags in ((1000, FEW_TAGS - 1), (200, 201)):
        with pytest.raises(ValueError, match="expected"):
            fill(tmp_path, blobs, tags)
