"""Passwords as Argon2id hashes (RFC 9106), made beside the event loop and never many at once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from registry.errors import AccessInvalid, TooManyRequests

T = TypeVar("T")

_AT_ONCE = 2  # each takes 64 MiB and a core
_MOST_WAITING = 16
_NICENESS = 15
LEAST_LENGTH, MOST_LENGTH = 8, 512


def _step_back() -> None:
    """What this thread does takes a core for a while, and nobody who pulls shall wait for it: Linux has a niceness
    of threads."""
    this = threading.get_native_id()
    with suppress(OSError):  # some sandboxes forbid it, and then it is only less polite
        os.setpriority(os.PRIO_PROCESS, this, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, this)))


def check_password(password: str) -> str:
    """The password itself, where it may be one. Raises AccessInvalid."""
    if not LEAST_LENGTH <= len(password) <= MOST_LENGTH or "\0" in password:
        raise AccessInvalid(f"a password has {LEAST_LENGTH} to {MOST_LENGTH} characters")
    return password


class Passwords:
    """Hashes and compares. Both raise TooManyRequests, before any work, where too many wait already."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=64 * 1024, parallelism=1)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "passwords", _step_back)
        self._under_way = 0
        self._nobodys = ""

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def fits(self, secret: str, password: str) -> bool:
        """Whether `secret` is a hash of the password; for "" it takes as long, and none fits."""
        if not self._nobodys:
            self._nobodys = await self.hash("the password of nobody")
        return await self._run(lambda: self._compare(secret or self._nobodys, password)) and bool(secret)

    def _compare(self, secret: str, password: str) -> bool:
        try:
            return self._hasher.verify(secret, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._under_way >= _AT_ONCE + _MOST_WAITING:
            raise TooManyRequests("too many logins at once; try again", 1.0)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
