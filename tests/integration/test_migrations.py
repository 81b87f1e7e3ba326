"""A database of an older release is brought up to date at the start, with everything in it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import URL, Connection, MetaData, create_engine, insert, inspect, select, text, update

from registry.cli import main
from registry.domain.access import Replica, decode
from registry.domain.changes import Outcome
from registry.errors import StartupError
from registry.storage.metadata import postgres, sqlite, versions
from registry.storage.metadata.schema import SCHEMA_VERSION, metadata, properties
from registry.storage.migrations import runner
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.database_node import database_node, put, whole_journal
from tests.harness.postgres import PostgresServer
from tests.harness.server import ShoalServer

RELEASE_0_1_0 = Path(__file__).with_name("release-0.1.0.sql")
KINDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.require("postgres")))
NewDatabase = Callable[[], URL]
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=KINDS)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return lambda: postgres.parse(server.new_database())
    numbers = iter(range(100))
    return lambda: URL.create("sqlite", database=str(tmp_path / f"{next(numbers)}.db"))


@contextmanager
def transaction(url: URL) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def shape(connection: Connection) -> dict[str, object]:
    """All that the database knows about its tables, collations among it."""
    inspector, found = inspect(connection), dict[str, object]()
    for table in sorted(inspector.get_table_names()):
        columns = [
            (c["name"], repr(c["type"]), c["nullable"], c["default"], c["type"].as_generic().__class__.__name__)
            for c in inspector.get_columns(table)
        ]
        indexes = sorted(
            (i["name"], i["column_names"], {key: str(value) for key, value in i["dialect_options"].items()})
            for i in inspector.get_indexes(table)
        )
        keys = [(key["constrained_columns"], key["referred_table"]) for key in inspector.get_foreign_keys(table)]
        unique = [key["column_names"] for key in inspector.get_unique_constraints(table)]
        primary = inspector.get_pk_constraint(table)["constrained_columns"]
        found[table] = (columns, indexes, sorted(keys), unique, primary)
    return found


def rows(connection: Connection) -> Rows:
    """All rows of all tables, but for what the version itself says, and for the secret that each database has."""
    tables = MetaData()
    tables.reflect(connection)
    found = {
        table.name: [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))]
        for table in tables.sorted_tables
        if table.name != "alembic_version"
    }
    found["properties"] = [row for row in found["properties"] if not row["name"].startswith(("schema_", "cursor_"))]
    return found


def released(data: Path) -> None:
    with sqlite3.connect(data / sqlite.FILE_NAME) as connection:
        connection.executescript(RELEASE_0_1_0.read_text())
    connection.close()


def old_rows(tmp_path: Path) -> Rows:
    (tmp_path / "old").mkdir()
    released(tmp_path / "old")
    with transaction(URL.create("sqlite", database=str(tmp_path / "old" / sqlite.FILE_NAME))) as connection:
        return rows(connection)


def without_new(found: Rows, before: Rows) -> Rows:
    """The rows that were there before, in the columns of that time; asserts that what is new is empty."""
    for table in found.keys() - before.keys():
        assert found[table] == []
    kept = {table: before[table][0].keys() for table in before if before[table]}
    return {t: [{key: row[key] for key in kept.get(t, row)} for row in found[t]] for t in before}


def test_migrations_from_nothing_give_the_schema_of_a_new_database(new_database: NewDatabase) -> None:
    with transaction(new_database()) as migrated, transaction(new_database()) as made:
        runner.upgrade(migrated, None)
        versions.create(made)
        assert shape(migrated) == shape(made)
        assert compare_metadata(MigrationContext.configure(migrated), metadata) == []
        assert versions.read(migrated) == versions.read(made)
        stamps = [c.scalar(text("SELECT version_num FROM alembic_version")) for c in (migrated, made)]
        assert stamps == [versions.revision(SCHEMA_VERSION)] * 2


def test_there_is_a_migration_for_every_version() -> None:
    found = sorted(path.name[1:5] for path in Path(runner.__file__).parent.glob("versions/v*.py"))
    assert found == [versions.revision(number) for number in range(1, SCHEMA_VERSION + 1)]


async def test_a_data_directory_of_release_0_1_0_is_brought_up_to_date(tmp_path: Path) -> None:
    before = old_rows(tmp_path)
    data = tmp_path / "old"
    async with database_node("", data) as node:
        assert len(await whole_journal(node.reader)) == 7
        assert list(await node.reader.tags("library/one", "", 10)) == ["latest", "v1", "v2"]
        found = await node.cached.manifest_by_tag("library/other", "copied")
        assert found is not None
        blob = await node.reader.stored("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
        assert blob is not None
        assert (blob.size, blob.location) == (2, "")
        with transaction(URL.create("sqlite", database=str(data / sqlite.FILE_NAME))) as connection:
            assert without_new(rows(connection), before) == before
        assert await node.changes.submit(put(1, "new")) == Outcome()
    sqlite.prepare(data)


@pytest.mark.require("postgres")
async def test_a_postgres_with_the_first_schema_is_brought_up_to_date(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url, before = postgres_server.new_database(), old_rows(tmp_path)
    with transaction(postgres.parse(url)) as connection:
        runner.upgrade(connection, None, "0001")
        tables = MetaData()
        tables.reflect(connection)
        for table in tables.sorted_tables:
            if before.get(table.name):
                connection.execute(insert(table), before[table.name])
        connection.execute(text("SELECT setval('repositories_id_seq', 100)"))
    async with database_node(url) as node:
        with transaction(postgres.parse(url)) as connection:
            assert without_new(rows(connection), before) == before
        assert len(await whole_journal(node.reader)) == 7
        assert await node.changes.submit(put(1, "new")) == Outcome()


@pytest.mark.require("postgres")
@pytest.mark.parametrize("first", ["nothing", "0001"])
def test_nodes_that_start_at_once_do_not_collide(postgres_server: PostgresServer, first: str) -> None:
    url, failed = postgres.parse(postgres_server.new_database()), list[BaseException]()
    if first == "0001":
        with transaction(url) as connection:
            runner.upgrade(connection, None, first)

    def start() -> None:
        try:
            postgres.prepare(url, "data")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with transaction(url) as connection:
        assert versions.read(connection) == (SCHEMA_VERSION, 2)


@pytest.mark.require("postgres")
def test_an_old_node_works_with_a_newer_schema_only_if_that_says_so(postgres_server: PostgresServer) -> None:
    url = postgres.parse(postgres_server.new_database())
    postgres.prepare(url, "data")
    with transaction(url) as connection:
        newer = update(properties).where(properties.c.name == "schema_version").values(value=str(SCHEMA_VERSION + 1))
        connection.execute(newer)
    postgres.prepare(url, "data")
    with transaction(url) as connection:
        needs = update(properties).where(properties.c.name == "schema_needs").values(value=str(SCHEMA_VERSION + 1))
        connection.execute(needs)
    with pytest.raises(StartupError, match="newer version of Shoal"):
        postgres.prepare(url, "data")


@pytest.mark.require("postgres")
def test_nodes_of_the_old_release_go_on_beside_the_new_one(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """What the next release adds is stood for by a column, a table and a version."""
    url = postgres_server.new_database()
    nodes = [ShoalServer(tmp_path / name, settings={"database": {"url": url}}, workers=2) for name in ("a", "b")]
    image = content.small_image(1)
    with nodes[0], nodes[1], RegistryClient(nodes[0].url) as client:
        client.push_image("app", image, "before")
        with transaction(postgres.parse(url)) as connection:
            connection.exec_driver_sql("ALTER TABLE blobs ADD COLUMN signed_by TEXT NOT NULL DEFAULT ''")
            connection.exec_driver_sql("CREATE TABLE accounts (name TEXT PRIMARY KEY)")
            newer = (
                update(properties).where(properties.c.name == "schema_version").values(value=str(SCHEMA_VERSION + 1))
            )
            connection.execute(newer)
        nodes[1].restart()
        for node in nodes:
            with RegistryClient(node.url) as other:
                pushed = content.small_image(node.port)
                other.push_image("app", pushed, "after")
                other.check_image("app", pushed, "after")
                assert other.resolve("app", "before") == image.digest
        assert [node.complaints() for node in nodes] == [[], []]


async def test_the_hash_of_a_replication_token_becomes_a_part_of_its_record(new_database: NewDatabase) -> None:
    """Databases without a token stay open to the programs of before."""
    url = new_database()
    records, old = metadata.tables["access_records"], '{"created":1.0,"id":"1f","name":"eu"}'
    key = {"kind": "key", "key": "k1", "value": "{}", "private": "PEM"}
    with transaction(url) as connection:
        runner.upgrade(connection, None, "0004")
        connection.execute(insert(records), [key, {"kind": "replica", "key": "eu", "value": old, "private": "ab" * 32}])
        runner.upgrade(connection, None)
        found = {row.kind: row for row in connection.execute(select(records))}
        assert decode("replica", found["replica"].value) == Replica("eu", "1f", 1.0, "ab" * 32)
        assert (found["replica"].private, found["key"].private) == ("", "PEM")
        assert versions.read(connection) == (SCHEMA_VERSION, 5)


def test_the_commands_say_and_upgrade(tmp_path: Path) -> None:
    released(tmp_path)
    told = [CliRunner().invoke(main, ["db", command, "--data", str(tmp_path)]) for command in ("current", "upgrade")]
    assert [result.exit_code for result in told] == [0, 0]
    assert "has schema 1;" in told[0].stdout
    assert f"has schema {SCHEMA_VERSION}." in told[1].stdout


@pytest.mark.require("postgres")
async def test_everything_is_copied_there_and_back(tmp_path: Path, postgres_server: PostgresServer) -> None:
    before = old_rows(tmp_path)
    first, there = f"sqlite:///{tmp_path / 'old' / sqlite.FILE_NAME}", postgres_server.new_database()
    back = f"sqlite:///{tmp_path / 'back' / sqlite.FILE_NAME}"

    def copied(source: str, target: str) -> str:
        result = CliRunner().invoke(main, ["db", "copy", "--from", source, "--to", target])
        return result.stdout if result.exit_code == 0 else result.stderr

    assert "db upgrade" in await asyncio.to_thread(copied, first, there)
    sqlite.prepare(tmp_path / "old")
    assert "7 events" in await asyncio.to_thread(copied, first, there)
    refused = await asyncio.to_thread(copied, first, there)
    assert "is not empty" in refused
    assert "s3cret" not in refused
    async with database_node(there) as node:
        assert await node.changes.submit(put(1, "new")) == Outcome()
        assert await node.reader.repository_exists("team/app")
    assert "8 events" in await asyncio.to_thread(copied, there, back)
    async with database_node("", tmp_path / "back") as node:
        assert len(await whole_journal(node.reader)) == 8
        found = await node.reader.manifest_by_tag("library/one", "latest")
        assert found is not None
        assert found.content in {row["content"] for row in before["manifests"]}
        assert await node.changes.submit(put(2, "new")) == Outcome()
