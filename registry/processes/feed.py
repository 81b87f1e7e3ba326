"""The feed for slaves as a part of a process that serves: its reads, its streams, and its routes in the URL map."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web

from registry import __version__
from registry.domain.clock import system_clock
from registry.domain.digest import Digest
from registry.domain.names import parse_repository
from registry.http import receive
from registry.http.auditing import REPLICATION
from registry.http.dispatch import add_headers
from registry.http.proxies import client_address
from registry.http.router import Call, Route
from registry.http.stored_blobs import StoredBlobs
from registry.ports import Access
from registry.ports.replication import FeedReader, StateReader
from registry.ports.slaves import Slaves
from registry.ports.succession import Succession
from registry.storage.metadata.commits import CommitCounter
from replication import wire
from replication.content import Contents
from replication.feed import Feed
from replication.routes import FeedRoute
from replication.scope import Scope
from replication.states import States
from replication.streams import Streams
from replication.tail import Tail

_LOOK_AT_COUNT = 0.005
_LOOK_AT_DATABASE = 0.05  # seconds; here other nodes commit, too
_LARGEST_REPORT = 64 * 1024
_REPORTS_UNDER_WAY = 4 * 1024 * 1024


class ProcessFeed:
    """`commits`: the count of all commits to the database, where one node alone writes it; None where others do."""

    def __init__(self, reader: FeedReader, states: StateReader, commits: CommitCounter | None) -> None:
        self.reader = reader
        self._states = States(reader, states)
        if commits is None:
            self._tail = Tail(reader, _LOOK_AT_DATABASE)
        else:
            self._tail = Tail(reader, _LOOK_AT_COUNT, commits.value)
        self._streams = Streams(wire.HEARTBEAT)
        self._budget = receive.Budget(_REPORTS_UNDER_WAY)

    def end(self) -> None:
        """The process is stopping: no stream may keep it."""
        self._streams.end()

    def routes(
        self,
        slaves: Slaves,
        succession: Succession,
        access: Access,
        blobs: StoredBlobs,
        trusted_proxies: Sequence[IPv4Network | IPv6Network],
        body_timeout: float,
        contents: Contents,
    ) -> list[Route]:
        program = f"shoal {__version__}"
        parts = self.reader, self._tail, self._streams, slaves, succession
        feed = Feed(*parts, system_clock, program, wire.HEARTBEAT, self._states)

        def joined(route: FeedRoute) -> Route:
            async def handler(call: Call) -> web.StreamResponse:
                address = client_address(call.request, trusted_proxies)
                return await route.handler(SlaveCall(call, address, access, blobs, body_timeout, self._budget))

            return Route(route.method, route.path, route.right, handler, f"{REPLICATION}{route.name}")

        return [joined(route) for route in (*feed.routes(), *contents.routes())]


class SlaveCall:
    """A call as the feed sees it (replication.routes.Asked)."""

    def __init__(
        self,
        call: Call,
        address: str,
        access: Access,
        blobs: StoredBlobs,
        body_timeout: float,
        budget: receive.Budget,
    ) -> None:
        self._call = call
        self._access = access
        self._blobs = blobs
        self._body_timeout = body_timeout
        self._budget = budget
        self.request = call.request
        self.name = call.visitor.replica.name if call.visitor.replica else ""
        self.address = address

    @property
    def scope(self) -> Scope | None:
        replica = self._call.visitor.replica
        return Scope.of(replica.repositories if replica else (), self.request.query.getall("repo", []))

    def parameter(self, name: str) -> str:
        return self._call.parameters[name]

    async def begin(self, response: web.StreamResponse) -> None:
        add_headers(response, self.request.path, self._call)
        self._call.begun = True
        await response.prepare(self.request)

    def count(self, sent: int) -> None:
        self._call.sent += sent

    async def body(self) -> bytes:
        with self._budget.spending() as take:
            return await receive.small(self._call, _LARGEST_REPORT, self._body_timeout, take)

    async def send_blob(self, digest: Digest) -> web.StreamResponse:
        # a slave of some repositories could name another one here
        named = "" if self.scope is not None else self.request.query.get("repository", "")
        return await self._blobs.send(self._call, digest, parse_repository(named) if named else "")

    async def is_welcome(self) -> bool:
        return self._call.visitor.is_slave_still(await self._access.table())
