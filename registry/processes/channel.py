"""How a worker asks its node: length-prefixed msgpack messages over a socket pair.

A request is [number, operation, body], an answer [number, error or nil, body]; an answer with the number 0 is the
settings and the standing, which the node tells at the start and when they change. Operations: `submit` (a change;
answered by its outcome), `acquire` and `release` (the lease of a digest), `login` (name, password and address;
answered by the principal), `hash` (of a new password), `way_to` and `who_came` (people with a browser), `note` and
`record` (entries of the audit log), `report` (what a slave says of itself) and `slaves` (all of that), `promote`,
`hand_over` and `give_way` (who writes the log). `above`: what the registry above a slave has.
Leases that a worker holds end with its connection.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import msgspec
import structlog

from registry import errors
from registry.auth.oidc import Login
from registry.auth.people import Return
from registry.domain import changes
from registry.domain.access import Principal
from registry.domain.audit import AuditEntry
from registry.domain.changes import Change, Outcome
from registry.domain.digest import Digest
from registry.domain.succession import Claim
from registry.errors import RegistryError, Unavailable
from registry.ports.slaves import SlaveReport
from registry.ports.succession import Promoted, Promotion
from registry.processes import above
from registry.processes.node_parts import NodeParts
from registry.services.leases import LocalLeases

log = structlog.get_logger(__name__)

_MOST_ENTRIES = 20_000
_GATHERED_FOR = 0.05  # seconds
_MAX_MESSAGE = 64 * 1024 * 1024
_CHANGE_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        changes.LinkBlob,
        changes.MountBlob,
        changes.KeepBlob,
        changes.DeleteBlob,
        changes.PutManifest,
        changes.DeleteTag,
        changes.DeleteManifest,
        changes.ForgetGarbage,
        changes.BeginUpload,
        changes.HoldUpload,
        changes.SaveUpload,
        changes.EndUpload,
        changes.SetRecord,
    )
}


async def send(writer: asyncio.StreamWriter, message: object) -> None:
    data = msgspec.msgpack.encode(message)
    writer.write(len(data).to_bytes(4, "big") + data)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> list[Any]:
    """The next message; raises EOFError where the other side is gone."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > _MAX_MESSAGE:
            raise EOFError("a message beyond the limit")
        return cast("list[Any]", msgspec.msgpack.decode(await reader.readexactly(size)))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError("the other side is gone") from error


class RemoteNode:
    """The worker's side: Changes, Leases, Logins, People, Audit, Slaves and Succession, each by a message to the
    node."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_settings: Callable[[str, str], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_settings = on_settings
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._releasing: set[asyncio.Task[None]] = set()
        self._gone = False
        self._entries: list[AuditEntry] = []
        self._telling: asyncio.Task[None] | None = None
        self.above = above.RemoteAbove(self._ask)

    async def run(self) -> None:
        """Take answers until the node is gone."""
        try:
            while True:
                number, error, body = await receive(self._reader)
                if number == 0:
                    self._on_settings(*body)
                    continue
                future = self._waiting.pop(number)
                if future.done():
                    continue
                if error is None:
                    future.set_result(body)
                else:
                    future.set_exception(_error(error))
        except EOFError:
            self._gone = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Unavailable("the node is stopping"))

    async def submit(self, change: Change) -> Outcome:
        body = await self._ask("submit", [type(change).__name__, change])
        return msgspec.convert(body, Outcome)

    def note(self, entry: AuditEntry) -> None:
        if len(self._entries) < _MOST_ENTRIES:
            self._entries.append(entry)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        """Tell the node what was noted; at its end there is nobody to tell any more."""
        with suppress(RegistryError):
            while self._entries:
                await asyncio.sleep(_GATHERED_FOR)
                entries, self._entries = self._entries, []
                await self._ask("note", entries)

    async def record(self, entry: AuditEntry) -> None:
        await self._ask("record", entry)

    async def report(self, report: SlaveReport) -> None:
        await self._ask("report", report)

    async def slaves(self) -> Sequence[SlaveReport]:
        return msgspec.convert(await self._ask("slaves", None), list[SlaveReport])

    async def promote(self, asked: Promotion) -> Promoted:
        return msgspec.convert(await self._ask("promote", asked), Promoted)

    async def hand_over(self, seconds: float) -> None:
        await self._ask("hand_over", seconds)

    async def give_way(self, claim: Claim) -> None:
        await self._ask("give_way", claim)

    async def login(self, name: str, password: str, address: str) -> Principal:
        return msgspec.convert(await self._ask("login", [name, password, address]), Principal)

    async def hash(self, password: str) -> str:
        return str(await self._ask("hash", password))

    async def way_to(self, issuer: str, login: Login, redirect_uri: str) -> str:
        return str(await self._ask("way_to", [issuer, login, redirect_uri]))

    async def who_came(self, back: Return) -> Principal:
        return msgspec.convert(await self._ask("who_came", back), Principal)

    @asynccontextmanager
    async def hold(self, digest: Digest) -> AsyncIterator[None]:
        acquired = asyncio.create_task(self._ask("acquire", str(digest)))
        try:
            await asyncio.shield(acquired)
            yield
        finally:
            releasing = asyncio.create_task(self._release(acquired, digest))
            self._releasing.add(releasing)
            releasing.add_done_callback(self._releasing.discard)
            if acquired.done():
                await asyncio.shield(releasing)

    async def _release(self, acquired: asyncio.Task[Any], digest: Digest) -> None:
        """Give a lease back; one that was asked for and no longer waited for too."""
        with suppress(Unavailable):  # the node gives back everything that a worker held when it has gone
            await acquired
            await self._ask("release", str(digest))

    async def _ask(self, operation: str, body: object) -> Any:
        if self._gone:
            raise Unavailable("the node is stopping")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await send(self._writer, [number, operation, body])
        except ConnectionError as error:
            del self._waiting[number]
            raise Unavailable("the node is stopping") from error
        return await future


class WorkerSession:
    """The node's side of one worker; `leases` are those of the node's parts."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        parts: NodeParts,
        leases: LocalLeases,
    ) -> None:
        self._logins = parts.logins
        self._people = parts.people
        self._audit = parts.audit
        self._slaves = parts.slaves
        self._succession = parts.succession
        self._above = parts.above
        self._reader = reader
        self._writer = writer
        self._changes = parts.changes
        self._leases = leases
        self._held: Counter[Digest] = Counter()

    async def run(self) -> None:
        """Serve the worker until it is gone, then give back what it held."""
        try:
            async with asyncio.TaskGroup() as tasks:
                under_way: set[asyncio.Task[None]] = set()
                while True:
                    try:
                        number, operation, body = await receive(self._reader)
                    except EOFError:
                        break
                    task = tasks.create_task(self._answer(number, operation, body))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                for task in under_way:  # nobody waits for an answer: changes are made all the same, logins are not
                    task.cancel()
        finally:
            for digest in self._held.elements():
                self._leases.release(digest)
            self._writer.close()

    async def _answer(self, number: int, operation: str, body: Any) -> None:
        failed: list[Any] = [number, ["StorageFailure", "the node failed to do what was asked", {}], None]
        try:
            answer: list[Any] = [number, None, await self._do(operation, body)]
        except RegistryError as error:
            answer = [number, [type(error).__name__, error.message, error.detail], None]
        except Exception:
            log.exception("a worker's request failed", operation=operation)
            answer = failed
        try:
            await send(self._writer, answer)
        except UnicodeEncodeError:  # some text from outside is none: that fails one request, and no others
            log.exception("an answer to a worker cannot be sent", operation=operation)
            with suppress(ConnectionError):
                await send(self._writer, failed)
        except ConnectionError:
            return  # the worker died; run() notices at its next read

    async def _do(self, operation: str, body: Any) -> object:
        if operation == "submit":
            kind, fields = body
            return await self._changes.submit(msgspec.convert(fields, _CHANGE_TYPES[kind]))
        if operation == "login":
            return await self._logins.login(*body)
        if operation == "hash":
            return await self._logins.hash(body)
        if operation == "way_to":
            issuer, login, redirect_uri = body
            return await self._people.way_to(issuer, msgspec.convert(login, Login), redirect_uri)
        if operation == "who_came":
            return await self._people.who_came(msgspec.convert(body, Return))
        if operation == "note":
            for entry in msgspec.convert(body, list[AuditEntry]):
                self._audit.note(entry)
            return None
        if operation == "record":
            await self._audit.record(msgspec.convert(body, AuditEntry))
            return None
        if operation == "report":
            await self._slaves.report(msgspec.convert(body, SlaveReport))
            return None
        if operation == "slaves":
            return await self._slaves.slaves()
        if operation == "promote":
            return await self._succession.promote(msgspec.convert(body, Promotion))
        if operation == "hand_over":
            await self._succession.hand_over(body)
            return None
        if operation == "give_way":
            await self._succession.give_way(msgspec.convert(body, Claim))
            return None
        if operation == above.OPERATION:
            return await above.answer(self._above, body)
        digest = Digest.parse(body)
        if operation == "acquire":
            await self._leases.acquire(digest)
            self._held[digest] += 1
        else:
            self._leases.release(digest)
            self._held -= Counter((digest,))  # unlike -= 1 this leaves no zero behind
        return None


def _error(answer: list[Any]) -> RegistryError:
    name, message, detail = answer
    kind = getattr(errors, name)
    error = cast("RegistryError", kind.__new__(kind))
    RegistryError.__init__(error, message, detail)
    return error
