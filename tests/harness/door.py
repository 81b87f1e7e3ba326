"""A door into a host of a testbed: what connects to it on 127.0.0.1 here reaches a server in there."""

from __future__ import annotations

from typing import Self

from benchmarks.testbed.hosts import Host, enter
from benchmarks.testbed.nodes import PORT
from tests.harness.cutting_proxy import CuttingProxy


class Door(CuttingProxy):
    """It listens here; its thread moves into the namespace after that, and so connects from inside."""

    def __init__(self, host: Host, port: int = PORT) -> None:
        super().__init__(port)
        self._host = host

    def __enter__(self) -> Self:
        super().__enter__()
        self._call(self._move())
        return self

    async def _move(self) -> None:
        enter(self._host.namespace)
