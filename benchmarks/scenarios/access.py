"""What rights cost: a pull with a token, the issue of tokens, a decision, and others who guess passwords meanwhile."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from benchmarks import accounts
from benchmarks.bench import Bench, Side, standing_side
from benchmarks.load import wrk
from benchmarks.load.content import image
from benchmarks.load.http import Connection, LoadError
from benchmarks.load.images import push_image
from benchmarks.processes import Server
from benchmarks.report import Goal, Row
from registry.domain.access import Account, Principal

_CONNECTIONS = 32
_IMAGE = image("bench/image", "latest", seed=0)
_MANIFEST = f"/v2/{_IMAGE.repository}/manifests/{_IMAGE.tag}"
_TOKEN = f"/auth/token?service=shoal&scope=repository:{_IMAGE.repository}:pull"
_ACCOUNTS, _GRANTS, _DECISIONS = 10_000, 100_000, 20_000
_GUESSES = 1000  # a second
_GUESSERS = 4


def pulls(bench: Bench) -> Iterator[Row]:
    with _guarded(bench) as server, bench.shoal() as everybodys:
        _push(everybodys)
        bearer = _bearer(server)
        ours = standing_side("with a token", server, lambda it: _rate(bench, it, _MANIFEST, bearer))
        other = standing_side("open to all", everybodys, lambda it: _rate(bench, it, _MANIFEST))
        name = f"manifest GET with a token, {_CONNECTIONS} connections, 1 worker"
        yield bench.compare(name, "req/s", Goal("ratio", "least", 0.85), ours, other)


def tokens(bench: Bench) -> Iterator[Row]:
    with _guarded(bench) as server:
        ours = standing_side("Shoal", server, lambda it: _rate(bench, it, _TOKEN, accounts.BASIC))
        name = f"token issue to a login that is remembered, {_CONNECTIONS} connections, 1 worker"
        yield bench.compare(name, "tokens/s", Goal("value", "least", 500), ours, None)


def decisions(bench: Bench) -> Iterator[Row]:
    """Each for the first time: a table that has changed remembers none."""
    table, dice = accounts.large_table(_ACCOUNTS, _GRANTS), random.Random(0)  # noqa: S311 - no secret
    asked = [
        (
            Principal(accounts.account_name(dice.randrange(_ACCOUNTS))),
            f"team-{dice.randrange(_GRANTS)}/web/app-{number}",
        )
        for number in range(_DECISIONS)
    ]

    def load(_: None) -> float:
        table.put(Account("newcomer"))
        started = time.perf_counter()
        for principal, repository in asked:
            table.rights(principal, repository)
        return (time.perf_counter() - started) / _DECISIONS * 1e6

    name = f"a decision, {_ACCOUNTS:,} accounts and {_GRANTS:,} grants"
    side = Side("Shoal", lambda: nullcontext(None), load)
    yield bench.compare(name, "µs", Goal("value", "most", 50), side, None)  # type: ignore[arg-type] # it needs no server


def guesses(bench: Bench) -> Iterator[Row]:
    """The slowest of a hundred pulls, while others guess passwords, beside the same while nobody does."""
    with _guarded(bench) as server:
        bearer = _bearer(server)
        slowest = partial(wrk.slowest_hundredth, target=_MANIFEST, connections=4, authorization=bearer)

        def undisturbed(it: Server) -> float:
            return slowest(it, seconds=bench.plan.seconds)

        def disturbed(it: Server) -> float:
            with _guessing(it):
                return slowest(it, seconds=bench.plan.seconds)

        name = f"slowest 1 % of manifest GETs beside {_GUESSES} wrong passwords a second, 4 connections, 1 worker"
        ours = standing_side("beside guesses", server, disturbed)
        other = standing_side("nobody guesses", server, undisturbed)
        yield bench.compare(name, "ms", Goal("ratio", "most", 2), ours, other)


def _rate(bench: Bench, server: Server, target: str, authorization: str = "") -> float:
    return wrk.get_rate(server, target, _CONNECTIONS, bench.plan.seconds, authorization)


@contextmanager
def _guarded(bench: Bench) -> Iterator[Server]:
    """Ourselves with accounts, and the image that was pushed before there were any."""
    with ExitStack() as stack:
        data: Path = stack.enter_context(bench.directory()) / "data"
        with bench.shoal(data) as everybodys:
            _push(everybodys)
        accounts.add_puller(data, f"{_IMAGE.repository.partition('/')[0]}/**")
        yield stack.enter_context(bench.shoal(data))


def _push(server: Server) -> None:
    with Connection(server.port) as connection:
        push_image(connection, _IMAGE)


def _bearer(server: Server) -> str:
    with Connection(server.port) as connection:
        answer = connection.request("GET", _TOKEN, {"Authorization": accounts.BASIC})
    if answer.status != 200:
        raise LoadError(f"no token: {answer.body!r}")
    return f"Bearer {json.loads(answer.body)['token']}"


@contextmanager
def _guessing(server: Server) -> Iterator[None]:
    """Threads that show wrong passwords from several addresses, at a rate that they keep to."""
    ended = threading.Event()
    guessers = [threading.Thread(target=_guess, args=(server.port, number, ended)) for number in range(_GUESSERS)]
    for guesser in guessers:
        guesser.start()
    try:
        yield
    finally:
        ended.set()
        for guesser in guessers:
            guesser.join()


def _guess(port: int, guesser: int, ended: threading.Event) -> None:
    head = "GET /auth/token?service=shoal HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.3.{guesser + 1}", 0)) as connection:
        started, count = time.monotonic(), 0
        while not ended.is_set():
            credentials = b64encode(f"{accounts.PULLER}:guess {guesser} {count}".encode()).decode()
            connection.sendall(head.format(credentials).encode())
            connection.recv(65536)
            count += 1
            ended.wait(max(0.0, started + count * _GUESSERS / _GUESSES - time.monotonic()))
