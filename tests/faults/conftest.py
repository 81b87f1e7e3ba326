"""Fixtures of the tests that break things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.node import PATIENT, Node

StartNode = Callable[..., Node]


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """Makes and starts servers with the arguments of ShoalServer but `data` (which may be given); all end with the
    test. What they keep outside of their data directory goes into the test's own folder."""
    with ExitStack() as running:
        count = 0

        def start(**options: object) -> Node:
            nonlocal count
            count += 1
            scratch = tmp_path / "scratch"
            scratch.mkdir(exist_ok=True)
            environment = {"TMPDIR": str(scratch), **options.pop("env", {})}  # type: ignore[dict-item]
            data = options.pop("data", tmp_path / f"node{count}")
            node = Node(data, env=environment, **{"settings": PATIENT, **options})
            running.callback(node.close)
            node.start()
            return node

        yield start
