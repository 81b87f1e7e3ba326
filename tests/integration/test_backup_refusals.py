"""Backups of a registry whose disk does not give the blobs: nothing is published, and no blob is called lost."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.harness.client import RegistryClient
from tests.harness.moving import fill, told
from tests.harness.server import ShoalServer
from tests.integration.test_backup import refused


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with all kinds of things."""
    data = tmp_path_factory.mktemp("filled") / "data"
    with ShoalServer(data) as server, RegistryClient(server.url) as client:
        fill(client)
        server.stop()
    return data


def test_folders_that_are_not_there_are_no_loss(filled: Path, tmp_path: Path) -> None:
    """Their disk is not mounted: nothing is published, and the next run does it."""
    data = shutil.copytree(filled, tmp_path / "data", symlinks=True)
    words = ("backup", "create", "--to", tmp_path / "backup", "--data", data)
    (data / "blobs").rename(tmp_path / "elsewhere")
    assert "is their disk mounted?" in refused(*words)
    assert list((tmp_path / "backup" / "snapshots").iterdir()) == []
    (tmp_path / "elsewhere").rename(data / "blobs")
    assert told(*words)["problems"] == {}


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_disk_that_refuses_is_no_loss_and_one_that_has_lost_a_blob_is(
    error: int, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int, _size: int, _position: int) -> bytes:
        raise OSError(error, os.strerror(error))

    words = ("backup", "create", "--to", tmp_path / "backup", "--data", filled)
    with monkeypatch.context() as patched:
        patched.setattr("registry.ports.blobs.os.pread", failing)
        if error == errno.EIO:
            assert len(told(*words, status=1)["problems"]) > 10
            return
        assert "cannot be read (Permission denied)" in refused(*words)
    assert list((tmp_path / "backup" / "snapshots").iterdir()) == []
    assert told(*words)["problems"] == {}
