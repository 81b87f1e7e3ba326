"""A TCP proxy that meddles with what a server sends: it changes a byte, or cuts the connection in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.harness.cutting_proxy import CutError, CuttingProxy, Direction


@dataclass
class _Deed:
    """What happens to the next `times` pieces that are found."""

    at: Callable[[bytes], int]
    cuts: bool
    times: int


class MeddlingProxy(CuttingProxy):
    """Stands in front of 127.0.0.1:`port`. `done` counts what it did."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._deeds: list[_Deed] = []
        self.done = 0

    def flip(self, at: Callable[[bytes], int], times: int = 1) -> None:
        """Changes one bit of a piece that comes down: at the place that `at` finds in it, -1 for none."""
        self._deeds.append(_Deed(at, False, times))

    def cut_at(self, at: Callable[[bytes], int], times: int = 1) -> None:
        """Forwards a piece up to that place, and closes the connection."""
        self._deeds.append(_Deed(at, True, times))

    async def _forward(self, sink: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        for deed in self._deeds if direction == "down" else ():
            place = deed.at(data)
            if deed.times and place >= 0:
                deed.times -= 1
                self.done += 1
                if deed.cuts:
                    await super()._forward(sink, data[:place], direction)
                    raise CutError(direction)
                data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        await super()._forward(sink, data, direction)
