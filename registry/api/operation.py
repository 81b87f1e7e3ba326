"""What an operation of the administration is: said once, for the route, the document and every client."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from registry.auth.visitor import OPEN, Visitor
from registry.errors import PaginationInvalid, RequestInvalid

if TYPE_CHECKING:  # commands need the table of operations, and not what does the work in a server
    from registry.auth.accounts import AccountService
    from registry.auth.keys import KeyRotation
    from registry.auth.replicas import ReplicaService
    from registry.ports.succession import Succession
    from registry.services.own_replication import OwnReplication
    from registry.services.slaves import SlaveService

A = TypeVar("A")
R = TypeVar("R")

BASE = "/api/v1"
PAGE, LARGEST_PAGE = 100, 1000
_PAGING = ("n", "last")


@dataclass(frozen=True, slots=True)
class Administration:
    """What operations work on."""

    accounts: AccountService
    keys: KeyRotation
    replicas: ReplicaService
    slaves: SlaveService
    own: OwnReplication
    succession: Succession


@dataclass(frozen=True, slots=True)
class Asked:
    """One call. `parameters` of the path, `query`, `body` of the operation's kind."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    visitor: Visitor = OPEN


@dataclass(frozen=True, slots=True)
class Answer(Generic[A]):
    """`last`: where the next page begins, "" where there is none."""

    body: A
    last: str = ""


@dataclass(frozen=True, slots=True)
class Operation(Generic[A]):
    """`right` as a Route has it. `body`: None where none is taken; `answer`: NoneType where there is nothing to say.

    `status` of success, where there is something to say. `filters`: parameters of the query, each with what it
    means. A list comes in pages (`is_list`). `is_of_the_node` as a Route has it.
    """

    name: str
    method: str
    path: str
    right: str
    summary: str
    run: Callable[[Administration, Asked], Awaitable[Answer[A]]]
    answer: type[A]
    body: type[Struct] | None = None
    status: int = 200
    filters: Mapping[str, str] = field(default_factory=dict)
    is_list: bool = False
    is_of_the_node: bool = False

    @property
    def template(self) -> str:
        return BASE + self.path

    @property
    def status_of_success(self) -> int:
        return 204 if self.answer is type(None) else self.status

    @property
    def parameters(self) -> list[str]:
        """The names in the path, in order."""
        return re.findall(r"\{([a-z_]+)\}", self.path)

    def check_query(self, query: Mapping[str, str]) -> None:
        """Raises RequestInvalid: a filter with a misspelt name would show everything."""
        known = (*self.filters, *(_PAGING if self.is_list else ()))
        unknown = sorted(set(query) - set(known))
        if unknown:
            raise RequestInvalid(f"no such parameter: {unknown[0][:64]}; known here: {', '.join(known) or 'none'}")


def read_body(kind: type[Struct], body: bytes) -> Struct:
    """What a client sent, as the operation wants it. Raises RequestInvalid."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise RequestInvalid(f"the body does not fit: {error}"[:300]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestInvalid("the body is no JSON") from error


def page(rows: Sequence[R], query: Mapping[str, str], key: Callable[[R], str]) -> tuple[list[R], str]:
    """The rows of the page that a query asks for, and where the next one begins. `rows` are in the order of `key`."""
    size, last = page_size(query), query.get("last", "")
    rest = [row for row in rows if key(row) > last] if last else list(rows)
    shown = rest[:size]
    return shown, key(shown[-1]) if len(rest) > len(shown) else ""


def page_size(query: Mapping[str, str]) -> int:
    """Raises PaginationInvalid."""
    text = query.get("n", str(PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise PaginationInvalid("n is a whole number, 1 or more", {"n": text[:64]})
    return min(int(text), LARGEST_PAGE)
