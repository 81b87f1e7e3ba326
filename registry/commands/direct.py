"""The administration in the database itself, while no server runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import TypeVar

import msgspec

from registry.api.operation import Administration, Answer, Asked, Operation, read_body
from registry.commands.client import NOTHING, Client
from registry.commands.offline import administered, held
from registry.config import Settings
from registry.domain.audit import OPERATOR, AuditEntry, action
from registry.errors import RegistryError, StartupError
from registry.ports import Audit

A = TypeVar("A")


class DirectClient:
    """Works in the database, as no server runs."""

    def __init__(self, to: Administration, audit: Audit, runner: asyncio.Runner) -> None:
        self._to = to
        self._audit = audit
        self._runner = runner

    def call(
        self,
        operation: Operation[A],
        parameters: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: msgspec.Struct | None = None,
    ) -> Answer[A]:
        try:
            operation.check_query(query)
            if operation.body is not None:  # the same bounds hold as over HTTP
                body = read_body(operation.body, msgspec.json.encode(body))
            return self._runner.run(self._run(operation, Asked(parameters, query, body)))
        except RegistryError as error:
            raise StartupError(error.with_cause) from error

    async def _run(self, operation: Operation[A], asked: Asked) -> Answer[A]:
        answer = await operation.run(self._to, asked)
        if operation.method != "GET":
            target = operation.template.format_map(asked.parameters)
            what = action(operation.name, operation.method)
            await self._audit.record(AuditEntry(time.time(), OPERATOR, "", what, target, "done"))
        return answer


@contextmanager
def direct(settings: Settings, *, may_be_new: bool) -> Iterator[Client]:
    """Raises StartupError, and of it DataInUse where a server runs."""
    with held(settings, may_be_new=may_be_new) as directory, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        to, audit = runner.run(stack.enter_async_context(administered(settings, directory)))
        try:
            yield DirectClient(to, audit, runner)
        finally:
            runner.run(stack.aclose())
