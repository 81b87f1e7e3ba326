"""All operations."""

from __future__ import annotations

from typing import Any

from registry.api import accounts, grants, keys, limits, own_replication, replication, waiting
from registry.api.operation import Operation

OPERATIONS: tuple[Operation[Any], ...] = (
    *accounts.OPERATIONS,
    *grants.OPERATIONS,
    *limits.OPERATIONS,
    *keys.OPERATIONS,
    *replication.OPERATIONS,
    *waiting.OPERATIONS,
    *own_replication.OPERATIONS,
)
