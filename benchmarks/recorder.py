"""What a registry asks of its object store, and how long it waits for the answers: a proxy between the two."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from aiohttp import web

HOP = ("connection", "keep-alive", "transfer-encoding", "server", "date")
_PIECE = 256 * 1024
_PATIENCE = 30.0
LISTS_AND_COPIES = ("ListObjects", "CopyObject", "UploadPartCopy")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its operation by Amazon's name, and when it began and had its answer (monotonic seconds)."""

    operation: str
    start: float
    stop: float


def operation_of(method: str, url: yarl.URL, copies: bool = False) -> str:
    """`copies`: whether the request names a source to copy from."""
    query = url.query
    in_bucket = url.path.rstrip("/").count("/") == 1
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        put = "UploadPartCopy" if copies else "UploadPart"
        known = {"PUT": put, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}
        return known[method]
    if in_bucket:
        return {"HEAD": "HeadBucket", "POST": "DeleteObjects", "PUT": "CreateBucket"}.get(method, "ListObjects")
    put = "CopyObject" if copies else "PutObject"
    return {"PUT": put, "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]


class StoreRecorder:
    """Between a registry and its store, on a port of 127.0.0.1 and in a thread of its own until the block ends.

    Bodies pass through in pieces; what was asked is in `asked`.
    """

    def __init__(self, target: str) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._target = target
        self._ready, self._ended = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_PATIENCE):
            raise TimeoutError("what stands before the store did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_PATIENCE)

    def operations(self) -> Counter[str]:
        return Counter(asked.operation for asked in self.asked)

    def waited(self, start: float, stop: float) -> float:
        """For how many of the seconds between two moments some request had no answer yet."""
        return covered([(max(asked.start, start), min(asked.stop, stop)) for asked in self.asked])

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(auto_decompress=False, connector=connector) as self.session:
            runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._ended.wait()
            await runner.cleanup()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        start = time.monotonic()
        url = yarl.URL(f"{self._target}{request.raw_path}", encoded=True)
        body = request.content.iter_chunked(_PIECE) if request.body_exists else None
        async with self.session.request(
            request.method, url, headers=request.headers, data=body, skip_auto_headers=("Content-Type",),
            allow_redirects=False,
        ) as answer:  # fmt: skip
            response = web.StreamResponse(status=answer.status)
            response.headers.extend((k, v) for k, v in answer.headers.items() if k.lower() not in HOP)
            await response.prepare(request)
            if request.method != "HEAD":
                async for piece in answer.content.iter_chunked(_PIECE):
                    await response.write(piece)
            copies = "x-amz-copy-source" in request.headers
            self.asked.append(Asked(operation_of(request.method, request.url, copies), start, time.monotonic()))
            await response.write_eof()
            return response


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """The length of what some of the spans cover; those that end before they begin cover nothing."""
    total, reached = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return total
