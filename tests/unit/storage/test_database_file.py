"""The file of the database, in which the keys lie that sign."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.storage.metadata import sqlite


@pytest.fixture(autouse=True)
def usual_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(data: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}


def test_others_cannot_read_it(tmp_path: Path) -> None:
    sqlite.prepare(tmp_path)
    engine = sqlite.open_engine(tmp_path, read_only=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE head SET unlinks = unlinks")
        assert len(list(tmp_path.iterdir())) == 3, "the log, and what readers share, are beside it"
        assert modes(tmp_path) == {0o600}
    engine.dispose()


def test_nor_one_that_is_there_already_while_its_group_may(tmp_path: Path) -> None:
    sqlite.prepare(tmp_path)
    (tmp_path / sqlite.FILE_NAME).chmod(0o664)
    sqlite.prepare(tmp_path)
    assert modes(tmp_path) == {0o660}
