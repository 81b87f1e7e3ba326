"""Blobs that are changed behind our back: never silently wrong, always logged, healed by the next push."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import urllib3.exceptions

from tests.faults import datadir
from tests.faults.conftest import StartNode
from tests.faults.node import Node
from tests.harness.client import RegistryClient, UnexpectedAnswerError, error_code
from tests.harness.content import digest_of, image, random_bytes, random_layer
from tests.harness.process import wait_until

CONTENT = random_bytes(2_000_000, 1)
DIGEST = digest_of(CONTENT)


@pytest.fixture
def node(start_node: StartNode) -> Node:
    node = start_node()
    with RegistryClient(node.url) as client:
        client.push_blob("app", CONTENT)
    return node


def pulled(node: Node) -> bytes | int:
    """The bytes of a pull that looks whole; else the status; -1 where the client saw a cut."""
    with RegistryClient(node.url) as client:
        try:
            return client.blob("app", DIGEST)
        except UnexpectedAnswerError as error:
            return error.status
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return -1


def check_healed(node: Node) -> None:
    """A client that asks first is told that the blob is missing, pushes it, and all is well."""
    with RegistryClient(node.url) as client:
        assert not client.has_blob("app", DIGEST), "HEAD has to say that it is missing"
        client.push_blob("app", CONTENT)
        assert client.blob("app", DIGEST) == CONTENT
        assert client.has_blob("app", DIGEST)


def errors(node: Node) -> list[str]:
    return [str(entry["event"]) for entry in node.logged() if entry["level"] == "error"]


def test_truncated_file(node: Node) -> None:
    for left in (0, 1, 1_000_000, len(CONTENT) - 1):
        check_truncated(node, left)


def check_truncated(node: Node, left: int) -> None:
    os.truncate(datadir.blob_file(node.data, DIGEST), left)
    assert pulled(node) == -1
    wait_until(lambda: any("too short" in event for event in errors(node)), "the damage is logged", 5)
    with RegistryClient(node.url) as client:
        answer = client.request("GET", f"/v2/app/blobs/{DIGEST}", want=206, headers={"Range": "bytes=0-0"}, stream=True)
        if left:
            assert answer.content == CONTENT[:1]
        else:
            with pytest.raises(requests.RequestException):
                assert answer.content
    check_healed(node)


def test_truncated_while_it_is_sent(start_node: StartNode) -> None:
    node = start_node()
    content = random_bytes(64_000_000, 2)
    with RegistryClient(node.url) as client:
        digest = client.push_blob("app", content)
        answer = client.request("GET", f"/v2/app/blobs/{digest}", want=200, stream=True)
        received = answer.raw.read(1000)
        os.truncate(datadir.blob_file(node.data, digest), 20_000_000)
        with suppress(urllib3.exceptions.HTTPError):
            while chunk := answer.raw.read(1_000_000):
                received += chunk
            raise AssertionError("the end of a cut transfer looked like the end of the blob")
        assert len(received) < len(content)
        assert content.startswith(received), "what came is right as far as it goes"


def test_deleted_file(node: Node) -> None:
    datadir.blob_file(node.data, DIGEST).unlink()
    assert pulled(node) == 404
    check_healed(node)


def test_longer_file(node: Node) -> None:
    with datadir.blob_file(node.data, DIGEST).open("ab") as file:
        file.write(b"more")
    assert pulled(node) == 500
    assert errors(node)
    check_healed(node)


def test_folder_in_place_of_the_file(node: Node) -> None:
    path = datadir.blob_file(node.data, DIGEST)
    path.unlink()
    path.mkdir()
    assert pulled(node) in (404, 500)
    path.rmdir()
    check_healed(node)


def test_damaged_blob_is_not_mounted(node: Node) -> None:
    """A mount would promise bytes that are not there; the client is asked to push them instead."""
    os.truncate(datadir.blob_file(node.data, DIGEST), 10)
    with RegistryClient(node.url) as client:
        assert not client.mount("other", DIGEST, "app")
        client.push_blob("other", CONTENT)
        assert client.blob("app", DIGEST) == CONTENT, "one push heals it for every repository"


def test_client_heals_an_image(node: Node) -> None:
    """The usual push of an image (HEAD first) replaces a damaged layer."""
    made = image(random_layer(100_000, 3), random_layer(100_000, 4))
    with RegistryClient(node.url) as client:
        client.push_image("app", made, "latest")
        os.truncate(datadir.blob_file(node.data, made.layers[1].digest), 10)
        client.push_image("app", made, "latest")
        client.check_image("app", made, "latest")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder of the user nobody whose path everybody may walk; tmp_path is for its owner alone."""
    with tempfile.TemporaryDirectory(prefix="shoal-nobody-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        os.chown(folder, 65534, 65534)
        yield Path(folder)


@pytest.mark.require("root")
def test_unreadable_file(open_place: Path, start_node: StartNode) -> None:
    """The server runs as a user of its own and may not read the file: 500, told, logged; the rest goes on.

    Its folder is asked for first, so that it goes last: the server writes there until its end.
    """
    node = start_node(
        data=open_place / "data",
        prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        env={"TMPDIR": "/tmp"},
    )
    with RegistryClient(node.url) as client:
        client.push_blob("app", CONTENT)
        other = client.push_blob("app", b"another one")
        datadir.blob_file(node.data, DIGEST).chmod(0)
        answer = client.request("GET", f"/v2/app/blobs/{DIGEST}", want=500)
        assert error_code(answer) == "STORAGE_FAILURE"
        assert errors(node)
        assert client.blob("app", other) == b"another one"
        client.push_blob("app", CONTENT)
        assert client.blob("app", DIGEST) == CONTENT, "pushing it again heals that too"
        datadir.blob_file(node.data, DIGEST).parent.chmod(0)
        client.request("GET", f"/v2/app/blobs/{DIGEST}", want=500)
        client.request("HEAD", f"/v2/app/blobs/{DIGEST}", want=500)
        digest = digest_of(CONTENT)
        location = client.start_upload("app")
        client.request("PUT", f"{location}?digest={digest}", data=CONTENT, want=500)
        datadir.blob_file(node.data, DIGEST).parent.chmod(0o700)
        client.push_blob("app", CONTENT)
