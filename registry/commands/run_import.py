"""Runs an import: a source, a target, and what the target needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from registry.commands.offline import held, opened
from registry.config import Settings
from registry.errors import DataInUse
from registry.imports.http_session import RegistrySession
from registry.imports.http_target import HttpTarget
from registry.imports.node_target import NodeTarget
from registry.imports.ports import Source, Target
from registry.imports.report import Report
from registry.imports.taker import Taker
from registry.storage.files import DataDirectory
from registry.telemetry.logs import configure as configure_logs

Wanted = Callable[[str], bool]


def into_data(source: Source, settings: Settings, wanted: Wanted, jobs: int, report: Report) -> None:
    """Take a source over into a data directory. Raises StartupError."""
    configure_logs(settings.log.level, settings.log.format)
    try:
        with held(settings, may_be_new=True) as directory:
            asyncio.run(_take(source, lambda: _node(settings, directory), wanted, jobs, report))
    except DataInUse as error:
        raise DataInUse(
            f"a server runs on {settings.data}: stop it, or push to it with --server URL (where it listens)"
        ) from error


def into_server(source: Source, url: str, wanted: Wanted, jobs: int, report: Report) -> None:
    """Push a source to a running server. Raises StartupError."""
    asyncio.run(_take(source, lambda: _server(url), wanted, jobs, report))


@asynccontextmanager
async def _node(settings: Settings, directory: DataDirectory) -> AsyncIterator[Target]:
    async with opened(settings, directory) as node:
        yield NodeTarget(node.reader, node.blobs, node.push, node.manifests, node.adopter)


@asynccontextmanager
async def _server(url: str) -> AsyncIterator[Target]:
    target = HttpTarget(RegistrySession(url))
    try:
        await target.check()
        yield target
    finally:
        await target.close()


async def _take(
    source: Source,
    into: Callable[[], AbstractAsyncContextManager[Target]],
    wanted: Wanted,
    jobs: int,
    report: Report,
) -> None:
    try:
        async with into() as target:
            await Taker(source, target, report, jobs).run(wanted)
    finally:
        await source.close()
