"""What becomes of a slave when the link to its master is bad: hosts in namespaces, joined by links that are told to be.

All the while somebody pulls whatever the slave shows, and nothing that is shown may lack anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.testbed.links import Conditions, Link, made_testbed
from benchmarks.testbed.nodes import node, slave_of
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.door import Door
from tests.harness.everything import nothing_wrong, tags_of, wait_until_same
from tests.harness.process import wait_until

pytestmark = pytest.mark.require("root")


WHOLE_BY_ITSELF = {"SHOAL_REPLICATION__READ_THROUGH": "off"}


@dataclass(frozen=True)
class Pair:
    """A master and a slave on two hosts. `master`, `slave`: where they answer; their link does not matter to that.

    `restart`: kills the master and starts it again.
    """

    link: Link
    master: str
    slave: str
    restart: Callable[[], None]


Joined = Callable[[Conditions], AbstractContextManager[Pair]]


@pytest.fixture
def joined(tmp_path: Path) -> Joined:
    @contextmanager
    def pair(conditions: Conditions) -> Iterator[Pair]:
        with made_testbed() as bed, ExitStack() as running, ExitStack() as serving:
            master, slave = bed.host("master", "bbr"), bed.host("slave", "bbr")
            link = bed.join(master, slave, conditions)
            serving.enter_context(node(master, tmp_path / "master"))

            def restart() -> None:
                serving.close()
                serving.enter_context(node(master, tmp_path / "master"))

            running.enter_context(
                node(slave, tmp_path / "slave", slave_of(link.left_address), environment=WHOLE_BY_ITSELF)
            )
            doors = [running.enter_context(Door(host)) for host in (master, slave)]
            yield Pair(link, doors[0].url, doors[1].url, restart)

    return pair


@pytest.mark.parametrize("seconds", [3, pytest.param(180, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_link_that_is_down(joined: Joined, seconds: int) -> None:
    with joined(Conditions()) as pair, nothing_wrong(pair.master, pair.slave, 90) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
        wait_until_same(pair.master, pair.slave)
        kept = tags_of(pair.slave)
        pair.link.take_down()
        pushes.push_image("team/app", content.small_image(2), "v1")
        pushes.push_image("team/new", content.small_image(3), "v1")
        time.sleep(seconds)
        assert tags_of(pair.slave) == kept
        pair.link.put_up()


@pytest.mark.parametrize("images", [3, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_long_link_that_loses_packets(joined: Joined, images: int) -> None:
    with joined(Conditions(rtt=0.3, loss=0.02)) as pair, nothing_wrong(pair.master, pair.slave, 90) as pushes:
        for number in range(images):
            large = content.image(content.random_layer(100_000, number))
            pushes.push_image(f"team/app{number % 3}", large, f"v{number % 4}")


@pytest.mark.parametrize("seconds", [2, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_packets_are_dropped_silently(joined: Joined, seconds: int) -> None:
    """Both sides think that they are connected; TCP goes on after a short while, after a long one the slave."""
    with joined(Conditions(has_carrier=True)) as pair, nothing_wrong(pair.master, pair.slave, 90) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
        wait_until_same(pair.master, pair.slave)
        pair.link.drop()
        pushes.push_image("team/app", content.small_image(2), "v1")
        pushes.push_image("team/large", content.image(content.random_layer(1_000_000, 3)), "v1")
        time.sleep(seconds)
        assert "team/large:v1" not in tags_of(pair.slave)
        pair.link.carry()


@pytest.mark.slow
def test_a_connection_of_which_one_side_knows_nothing(joined: Joined) -> None:
    """The master began anew while nothing reached the slave, which listens to a connection that is no more."""
    with joined(Conditions(has_carrier=True)) as pair, nothing_wrong(pair.master, pair.slave, 90) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
        wait_until_same(pair.master, pair.slave)
        pair.link.drop()
        pair.restart()
        wait_until(lambda: bool(tags_of(pair.master)), "the master is back")
        pair.link.carry()
        with RegistryClient(pair.master) as again:
            again.push_image("team/app", content.small_image(2), "v1")
