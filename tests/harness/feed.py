"""A reader of a master's feed that does one thing at a time, and looks at each line as it comes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from registry.domain.events import CHAIN_START, JournalEvent, verify
from replication import wire

TIMEOUT = 20.0  # seconds


@dataclass(frozen=True)
class At:
    """A position as a slave sends it."""

    serial: int = 0
    epoch: int = 0
    chain: str = CHAIN_START.hex()

    @classmethod
    def of(cls, event: JournalEvent) -> At:
        return cls(event.serial, event.epoch, event.chain.hex())

    @property
    def query(self) -> dict[str, object]:
        return {"after": self.serial, "epoch": self.epoch, "chain": self.chain}


class Refused(AssertionError):
    """An answer with another status than 200."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body: dict[str, Any] = json.loads(response.read() or b"{}")
        super().__init__(f"{self.status} {self.body}")

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["errors"][0]
        return found


class Stream:
    """One stream; `raw` are all of its bytes so far. Each read fails after TIMEOUT seconds without a byte."""

    def __init__(self, server: str, path: str, query: Mapping[str, object], token: str = "") -> None:
        self._connection = http.client.HTTPConnection(server, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection.request("GET", f"{wire.BASE}/{path}?{urlencode(query)}", headers=headers)
        self._response = self._connection.getresponse()
        if self._response.status != 200:
            raise Refused(self._response)
        assert self._response.headers["Content-Type"] == wire.NDJSON
        self.raw = b""

    def __next__(self) -> wire.Line:
        line = self._response.readline()
        self.raw += line
        if not line.endswith(b"\n"):
            raise StopIteration
        found = wire.decode(line)
        assert found is not None, line
        return found

    def __iter__(self) -> Iterator[wire.Line]:
        return self

    def hello(self) -> wire.Hello:
        line = next(self)
        assert isinstance(line, wire.Hello), line
        return line

    def events(self, count: int) -> list[JournalEvent]:
        """The next events; heartbeats between them are passed over."""
        found: list[JournalEvent] = []
        while len(found) < count:
            line = next(self)
            if isinstance(line, wire.Event):
                found.append(line.to_journal())
            else:
                assert isinstance(line, wire.Heartbeat), line
        return found

    def events_of_limited(self, count: int) -> list[wire.Event]:
        """The next events of the log of a slave of some repositories, each with its cursor."""
        found: list[wire.Event] = []
        while len(found) < count:
            line = next(self)
            if isinstance(line, wire.Event):
                assert line.cursor
                found.append(line)
        return found

    def beat(self) -> wire.Heartbeat:
        """The next line, which is a heartbeat, but for records before the first one."""
        line = next(self)
        while isinstance(line, wire.Record | wire.RecordsEnd):
            line = next(self)
        assert isinstance(line, wire.Heartbeat), line
        return line

    def close(self) -> None:
        self._connection.close()
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def log(server: str, at: At = At(), token: str = "") -> Stream:
    return Stream(server, "log", at.query, token)


def snapshot(server: str, after: str = "", token: str = "") -> Stream:
    return Stream(server, "snapshot", {"after": after} if after else {}, token)


def check_links(events: Sequence[JournalEvent], before: At = At()) -> None:
    """Each event follows on the one before it, link by link."""
    chain, serial = bytes.fromhex(before.chain), before.serial
    for event in events:
        assert event.serial == serial + 1
        assert verify(chain, event), event
        chain, serial = event.chain, event.serial
