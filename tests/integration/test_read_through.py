"""What a slave has not got yet and a client asks for by its digest."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.client import RegistryClient, error_code
from tests.harness.content import Image
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.everything import tags_of, wait_until_same
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer
from tests.integration.conftest import Slave

SIZE = 6_000_000
BY_DIGEST = {"read_through": "digest"}


@pytest.fixture
def image() -> Image:
    return content.image(content.random_layer(SIZE, 2))


def push_while_nothing_is_followed(master: ShoalServer, proxy: CuttingProxy, slave: ShoalServer, image: Image) -> None:
    """The slave's stream stalls before it hears of the image; whatever it asks by other connections passes."""
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v0")
        wait_until_same(master.url, slave.url)
        slave.stop()
        pushes.push_image("team/app", image, "v1")
        proxy.stall("down", after=0, times=1)  # the log is what a slave asks for first
        slave.start()
        wait_until(lambda: proxy.count.struck == 1, "its stream stalls")


def get(slave: ShoalServer, image: Image, **options: object) -> requests.Response:
    url = f"{slave.url}/v2/team/app/blobs/{image.layers[0].digest}"
    return requests.get(url, timeout=30, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crowd_has_one_blob_fetched(start_shoal: StartShoal, start_slave: Slave, image: Image, workers: int) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url, workers=workers, more=BY_DIGEST)
        push_while_nothing_is_followed(master, proxy, slave, image)
        proxy.reset_count()
        with ThreadPoolExecutor(20) as crowd:
            answers = list(crowd.map(lambda _: get(slave, image), range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert {hashlib.sha256(answer.content).hexdigest() for answer in answers} == {image.layers[0].digest[7:]}
        assert SIZE < proxy.count.down < 1.2 * SIZE, "it was fetched once"
        assert "team/app:v1" not in tags_of(slave.url), "no tag is read through"
        master.stop()
        assert get(slave, image).status_code == 200, "it was kept"
    assert slave.complaints() == []


def test_a_manifest_and_what_the_registry_above_has_not(
    start_shoal: StartShoal, start_slave: Slave, image: Image
) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = start_slave(proxy.url, more=BY_DIGEST)
        pushes.push_image("other/app", content.small_image(7), "v1")
        push_while_nothing_is_followed(master, proxy, slave, image)
        with RegistryClient(slave.url) as pulls:
            manifest = pulls.request("GET", f"/v2/team/app/manifests/{image.digest}", headers={"Accept": "*/*"})
            assert (manifest.status_code, manifest.content) == (200, image.manifest.content)
            head = pulls.request("HEAD", f"/v2/team/app/blobs/{image.layers[0].digest}")
            assert (head.status_code, head.headers["Content-Length"]) == (200, str(image.layers[0].size))
            assert pulls.request("GET", "/v2/team/app/manifests/v1").status_code == 404
            other = content.small_image(7)
            for repository, path in (
                ("team/app", f"manifests/{content.small_image(9).digest}"),
                ("team/app", f"blobs/{other.layers[0].digest}"),
                ("none/app", f"blobs/{image.layers[0].digest}"),
                ("other/app", f"manifests/{image.digest}"),
            ):
                answer = pulls.request("GET", f"/v2/{repository}/{path}")
                assert (answer.status_code, error_code(answer)) in [(404, "BLOB_UNKNOWN"), (404, "MANIFEST_UNKNOWN")]


def test_it_is_sent_while_it_comes_and_lands_without_its_client(
    start_shoal: StartShoal, start_slave: Slave, image: Image
) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url, more=BY_DIGEST)
        push_while_nothing_is_followed(master, proxy, slave, image)
        proxy.stall("down", after=4_000_000)
        with get(slave, image, stream=True) as answer:
            assert len(answer.raw.read(1_000_000)) == 1_000_000, "though the rest has not come"
        proxy.heal()
        proxy.reset_count()
        wait_until_same(master.url, slave.url)
        assert get(slave, image).content == image.layers[0].content
        assert proxy.count.down < SIZE, "what had come was not fetched again"


def test_a_break_is_gone_on_with(start_shoal: StartShoal, start_slave: Slave, image: Image) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url, more=BY_DIGEST)
        push_while_nothing_is_followed(master, proxy, slave, image)
        proxy.reset_count()
        proxy.cut("down", after=2_000_000, times=2)
        assert get(slave, image).content == image.layers[0].content
        assert proxy.count.struck == 2
        assert proxy.count.down < 1.1 * SIZE


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=0-999999"}])
def test_damaged_bytes_are_never_a_whole_answer(
    start_shoal: StartShoal, start_slave: Slave, image: Image, asked: dict[str, str]
) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url, more=BY_DIGEST)
        push_while_nothing_is_followed(master, proxy, slave, image)
        layer = image.layers[0]
        (master.data / "blobs" / "sha256" / layer.digest[7:9] / layer.digest[7:]).write_bytes(
            layer.content[:-1] + bytes([layer.content[-1] ^ 1])
        )
        try:
            answer = get(slave, image, headers=asked)
        except (requests.exceptions.ChunkedEncodingError, requests.ConnectionError):
            return
        assert answer.status_code == 502, "what was sent is damaged, and looks whole"


def test_failures_of_the_registry_above_are_told_as_such(
    start_shoal: StartShoal, start_slave: Slave, image: Image
) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url, more=BY_DIGEST)
        push_while_nothing_is_followed(master, proxy, slave, image)
        proxy.stall("down", after=0, times=1)
        began = time.monotonic()
        answer = get(slave, image)
        assert (answer.status_code, error_code(answer)) == (504, "UNAVAILABLE")
        assert time.monotonic() - began < 25
        master.kill()
        for path in (f"blobs/{image.layers[0].digest}", f"manifests/{image.digest}"):
            answer = requests.get(f"{slave.url}/v2/team/app/{path}", headers={"Accept": "*/*"}, timeout=30)
            assert (answer.status_code, error_code(answer)) == (502, "UNAVAILABLE")
            assert "the registry above this slave cannot be asked" in answer.text


def test_it_can_be_off(start_shoal: StartShoal, start_slave: Slave, image: Image) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url, more={"read_through": "off"})
        push_while_nothing_is_followed(master, proxy, slave, image)
        assert get(slave, image).status_code == 404


def test_lazy_shows_first_and_fetches_when_asked(start_shoal: StartShoal, start_slave: Slave, image: Image) -> None:
    master = start_shoal()
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = start_slave(proxy.url, more={"read_through": "lazy"})
        pushes.push_image("team/app", image, "v1")
        wait_until_same(master.url, slave.url)
        time.sleep(0.5)
        assert proxy.count.down < SIZE / 2, "nobody has asked for the layer"
        with RegistryClient(slave.url) as pulls:
            pulls.check_image("team/app", image, "v1")


def test_through_a_slave_that_has_not_got_it_either(start_shoal: StartShoal, start_slave: Slave, image: Image) -> None:
    master = start_shoal()
    with RegistryClient(master.url) as pushes:
        middle = start_slave(master.url, more={"read_through": "lazy"})
        below = start_slave(middle.url, more=BY_DIGEST)
        pushes.push_image("team/app", image, "v1")
        wait_until_same(master.url, below.url)
        with RegistryClient(below.url) as pulls:
            pulls.check_image("team/app", image, "v1")
