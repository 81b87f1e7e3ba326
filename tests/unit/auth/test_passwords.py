"""Argon2id, beside the event loop and never many at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from registry.auth import passwords as module
from registry.auth.passwords import Passwords, check_password
from registry.errors import AccessInvalid, TooManyRequests


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_where_nobody_may_step_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_asked: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.setpriority", forbidden)
    passwords = Passwords()
    assert await passwords.fits(await passwords.hash("a long password"), "a long password")
    passwords.close()


async def test_a_hash_fits_its_password_alone(passwords: Passwords) -> None:
    secret = await passwords.hash("correct horse")
    assert secret.startswith("$argon2id$v=19$m=65536,")
    assert secret != await passwords.hash("correct horse"), "each has a salt of its own"
    assert await passwords.fits(secret, "correct horse")
    assert not await passwords.fits(secret, "correct horsf")
    assert not await passwords.fits("no hash", "correct horse")


async def test_what_no_account_has_is_compared_all_the_same(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    compare = passwords._compare

    def noted(secret: str, password: str) -> bool:
        compared.append(secret)
        return compare(secret, password)

    monkeypatch.setattr(passwords, "_compare", noted)
    assert not await passwords.fits("", "the password of nobody")
    assert compared[0].startswith("$argon2id$")


async def test_at_most_two_at_once_and_a_bounded_crowd_waits(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, lock, running, most = threading.Event(), threading.Lock(), 0, 0

    def slow(_password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(30)
        with lock:
            running -= 1
        return "hash"

    monkeypatch.setattr(passwords, "_hasher", _Hasher(slow))
    room = module._AT_ONCE + module._MOST_WAITING
    under_way = [asyncio.create_task(passwords.hash("x")) for _ in range(room)]
    await asyncio.sleep(0.05)
    with pytest.raises(TooManyRequests) as refused:  # at once, before any work
        await passwords.hash("one too many")
    assert refused.value.after > 0
    gate.set()
    await asyncio.gather(*under_way)
    assert most == 2
    assert await passwords.hash("there is room again") == "hash"


async def test_the_event_loop_goes_on(passwords: Passwords) -> None:
    ticks = 0
    working = asyncio.create_task(passwords.hash("correct horse"))
    while not working.done():
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 10


def test_what_may_be_a_password() -> None:
    for good in ("12345678", "x" * 512, "пароль пароль", "a b c d e f"):
        assert check_password(good) == good
    for bad in ("", "1234567", "x" * 513, "nul in\0side"):
        with pytest.raises(AccessInvalid):
            check_password(bad)


class _Hasher:
    def __init__(self, hashes: Callable[[str], str]) -> None:
        self.hash = hashes
