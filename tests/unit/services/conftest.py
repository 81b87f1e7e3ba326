"""A node in memory for each test."""

import pytest

from tests.unit.services.node import MemoryNode


@pytest.fixture
def node() -> MemoryNode:
    return MemoryNode()
