"""Between a registry and its object store: counts what is asked, and makes the faults that real stores have."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yarl
from aiohttp import web

from benchmarks.recorder import HOP, StoreRecorder, operation_of


@dataclass(frozen=True)
class Fault:
    """What happens to a request. `status`: answered with it, and not passed on. `cut_request`, `cut_answer`: the
    connection breaks after so many bytes of the body. `pause`: after so many bytes the answer stops for so many
    seconds. `change`: the bytes of the answer become others. `pieces`: these bytes, with so many seconds between them,
    are the answer, nothing is passed on. `delay`: seconds before all else.
    """

    status: int = 0
    code: str = "SlowDown"
    cut_request: int | None = None
    cut_answer: int | None = None
    pause: tuple[int, float] | None = None
    change: Callable[[bytes], bytes] | None = None
    pieces: tuple[bytes | float, ...] = ()
    delay: float = 0.0


Choose = Callable[[str, yarl.URL], Fault | None]
"""Method and address to fault."""


class StoreProxy(StoreRecorder):
    """`choose` may be changed at any time. `counts` has each request as it comes."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.choose: Choose = lambda _method, _url: None
        self.counts: Counter[str] = Counter()
        self.headers: dict[str, Mapping[str, str]] = {}  # of the last request of each kind

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        kind = operation_of(request.method, request.url)
        self.counts[kind] += 1
        self.headers[kind] = request.headers
        if "x-amz-copy-source" in request.headers:
            self.counts["copy"] += 1
        fault = self.choose(request.method, request.url) or Fault()
        await asyncio.sleep(fault.delay)
        if fault.pieces:
            return await _piecewise(request, fault.pieces)
        if fault.status:
            await request.content.read()
            return web.Response(status=fault.status, text=f"<Error><Code>{fault.code}</Code></Error>")
        if fault.cut_request is not None:
            await request.content.read(fault.cut_request)
            _cut(request)
        return await self._pass_on(request, fault)

    async def _pass_on(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        url = yarl.URL(f"{self._target}{request.raw_path}", encoded=True)
        body = request.content if request.body_exists else None
        async with self.session.request(
            request.method, url, headers=request.headers, data=body, skip_auto_headers=("Content-Type",)
        ) as answer:
            content = await answer.read()
            if fault.change is not None:
                content = fault.change(content)
            response = web.StreamResponse(status=answer.status)
            response.headers.extend((k, v) for k, v in answer.headers.items() if k.lower() not in HOP)
            await response.prepare(request)
            if fault.cut_answer is not None:
                if fault.cut_answer:
                    await response.write(content[: fault.cut_answer])
                _cut(request)
            if fault.pause is not None:
                await response.write(content[: fault.pause[0]])
                content = content[fault.pause[0] :]
                await asyncio.sleep(fault.pause[1])
            if request.method != "HEAD":
                await response.write(content)
            return response


async def _piecewise(request: web.BaseRequest, pieces: tuple[bytes | float, ...]) -> web.StreamResponse:
    await request.content.read()
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in pieces:
        if isinstance(piece, bytes):
            await response.write(piece)
        else:
            await asyncio.sleep(piece)
    return response


def _cut(request: web.BaseRequest) -> None:
    assert request.transport is not None
    request.transport.close()
    raise ConnectionResetError
