"""Two masters on one Postgres and one bucket: any request may reach either."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.postgres import PostgresServer
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import Settings, ShoalServer

pytestmark = pytest.mark.require("postgres")

REPO = "team/app"
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(700_000))  # 21 MiB
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"


@pytest.fixture
def masters(s3_server: S3Server, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[list[ShoalServer]]:
    bucket = s3_server.bucket(f"masters-{uuid.uuid4()}")
    settings: Settings = {
        "storage": {
            "kind": "s3",
            "endpoint": s3_server.endpoint,
            "bucket": bucket.bucket,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        },
        "database": {"url": postgres_server.new_database()},
    }
    nodes = [ShoalServer(tmp_path / name, settings=settings, workers=workers) for name, workers in (("a", 1), ("b", 2))]
    with nodes[0], nodes[1]:
        yield nodes


def test_an_upload_begun_on_one_goes_on_on_the_other(masters: list[ShoalServer]) -> None:
    turns = itertools.cycle(masters)
    begun = requests.post(f"{next(turns).url}/v2/{REPO}/blobs/uploads/", timeout=30)
    path = begun.headers["Location"].removeprefix(masters[0].url)
    cuts = (0, 100, 6_000_000, 6_000_001, 20_000_000, len(LARGE))
    for start, stop in itertools.pairwise(cuts):
        node = next(turns)
        answer = requests.patch(
            f"{node.url}{path}",
            data=LARGE[start:stop],
            headers={"Content-Range": f"{start}-{stop - 1}"},
            timeout=60,
        )
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{stop - 1}")
        status = requests.get(f"{next(turns).url}{path}", timeout=30)
        assert status.headers["Range"] == f"0-{stop - 1}"
    assert requests.put(f"{next(turns).url}{path}", params={"digest": DIGEST}, timeout=60).status_code == 201
    for node in masters:
        assert requests.get(f"{node.url}/v2/{REPO}/blobs/{DIGEST}", timeout=60).content == LARGE
        assert node.complaints() == []


def test_a_node_that_dies_in_an_upload_lets_the_other_go_on(masters: list[ShoalServer]) -> None:
    begun = requests.post(f"{masters[0].url}/v2/{REPO}/blobs/uploads/", timeout=30)
    path = begun.headers["Location"].removeprefix(masters[0].url)
    assert requests.patch(f"{masters[0].url}{path}", data=LARGE[:9_000_000], timeout=60).status_code == 202
    masters[0].kill()
    answer = requests.patch(f"{masters[1].url}{path}", data=LARGE[9_000_000:], timeout=60)
    assert answer.headers["Range"] == f"0-{len(LARGE) - 1}"
    assert requests.put(f"{masters[1].url}{path}", params={"digest": DIGEST}, timeout=60).status_code == 201
    masters[0].restart()
    assert requests.get(f"{masters[0].url}/v2/{REPO}/blobs/{DIGEST}", timeout=60).content == LARGE


def test_what_one_acknowledged_is_what_the_other_answers(masters: list[ShoalServer]) -> None:
    """Tags move and go on one node and are read on the other at once, also from its memory."""
    images = [small_image(seed) for seed in range(4)]
    with RegistryClient(masters[0].url) as client:
        for number, item in enumerate(images):
            client.push_image(REPO, item, f"keep-{number}")
    chance = random.Random(3)  # noqa: S311 - no secret
    for _ in range(150):
        writer, reader = chance.sample(masters, 2)
        url = f"/v2/{REPO}/manifests/moving"
        if chance.random() < 0.3:
            requests.delete(f"{writer.url}{url}", timeout=10)
            assert requests.get(f"{reader.url}{url}", timeout=10).status_code == 404
        else:
            manifest = chance.choice(images).manifest
            put = requests.put(
                f"{writer.url}{url}", data=manifest.content, headers={"Content-Type": manifest.media_type}, timeout=10
            )
            assert put.status_code == 201
            for _ in range(2):
                assert requests.get(f"{reader.url}{url}", timeout=10).content == manifest.content


def test_concurrent_moves_of_a_tag_have_an_order(masters: list[ShoalServer]) -> None:
    """Two nodes push and delete one tag at once; in the end both answer the same, and it is one of the last."""
    images = [small_image(seed) for seed in range(2)]
    with RegistryClient(masters[0].url) as client:
        for number, item in enumerate(images):
            client.push_image(REPO, item, f"keep-{number}")
    url = f"/v2/{REPO}/manifests/contended"

    def move(node: ShoalServer, manifest_of: int) -> None:
        manifest = images[manifest_of].manifest
        headers = {"Content-Type": manifest.media_type}
        for _ in range(20):
            assert (
                requests.put(f"{node.url}{url}", data=manifest.content, headers=headers, timeout=20).status_code == 201
            )
            assert requests.delete(f"{node.url}{url}", timeout=20).status_code in (202, 404)
        assert requests.put(f"{node.url}{url}", data=manifest.content, headers=headers, timeout=20).status_code == 201

    moving = [threading.Thread(target=move, args=(node, number)) for number, node in enumerate(masters)]
    for thread in moving:
        thread.start()
    for thread in moving:
        thread.join()
    answers = [requests.get(f"{node.url}{url}", timeout=10).content for node in masters]
    assert answers[0] == answers[1]
    assert answers[0] in [item.manifest.content for item in images]


def test_a_node_that_lost_its_data_directory_starts_with_an_empty_one(masters: list[ShoalServer]) -> None:
    item = small_image(7)
    lost, other = masters
    with RegistryClient(lost.url) as client:
        client.push_image(REPO, item, "kept")
    lost.kill()
    shutil.rmtree(lost.data)
    lost.restart()
    for node in (lost, other):
        with RegistryClient(node.url) as client:
            client.check_image(REPO, item, "kept")
