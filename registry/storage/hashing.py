"""Hashes whose state can be kept on disk, so that an upload goes on after a restart without a second read.

hashlib cannot save its state. libcrypto's SHA256_CTX and SHA512_CTX are plain structs, and the library
that hashlib itself is linked with has them; where a build of Python lacks them, `state` is empty and
whoever resumes has to read the bytes again.
"""

from __future__ import annotations

import _hashlib
import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from registry.domain.digest import Digest


class RunningHash(Protocol):
    """A hash of the bytes so far."""

    def update(self, data: bytes) -> None: ...

    def digest(self) -> Digest: ...

    @property
    def state(self) -> bytes:
        """What `resume` needs to go on from here; empty where that cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class _Functions:
    """One algorithm of libcrypto; `context_size` as in openssl/sha.h."""

    context_size: int
    digest_size: int
    init: Callable[..., int]
    update: Callable[..., int]
    final: Callable[..., int]


_STRUCT_SIZES = {"sha256": (112, 32), "sha512": (216, 64)}


@cache
def _functions(algorithm: str) -> _Functions | None:
    context_size, digest_size = _STRUCT_SIZES[algorithm]
    try:
        library = ctypes.CDLL(_hashlib.__file__)
        name = algorithm.upper()
        functions = _Functions(
            context_size,
            digest_size,
            *(getattr(library, f"{name}_{step}") for step in ("Init", "Update", "Final")),
        )
    except (OSError, AttributeError):
        return None
    return functions if _proven(algorithm, functions) else None


def _proven(algorithm: str, functions: _Functions) -> bool:
    """Whether a saved state goes on to the digest that hashlib finds: the struct is as we take it to be."""
    first = _ResumableHash(algorithm, functions)
    first.update(b"s" * 100)
    second = _ResumableHash(algorithm, functions, first.state)
    second.update(b"hoal" * 50)
    return second.digest() == Digest.of(b"s" * 100 + b"hoal" * 50, algorithm)


class _ResumableHash:
    """SHA-2 by libcrypto; the lock of the interpreter is released while it runs."""

    def __init__(self, algorithm: str, functions: _Functions, state: bytes | None = None) -> None:
        self._algorithm = algorithm
        self._functions = functions
        self._context = ctypes.create_string_buffer(functions.context_size)
        if state is None:
            functions.init(self._context)
        else:
            ctypes.memmove(self._context, state, functions.context_size)

    def update(self, data: bytes) -> None:
        self._functions.update(self._context, data, ctypes.c_size_t(len(data)))

    def digest(self) -> Digest:
        copy = ctypes.create_string_buffer(self._context.raw, self._functions.context_size)
        result = ctypes.create_string_buffer(self._functions.digest_size)
        self._functions.final(result, copy)
        return Digest(self._algorithm, result.raw.hex())

    @property
    def state(self) -> bytes:
        return self._context.raw


class _PlainHash:
    """hashlib, for a Python whose libcrypto does not show its structs."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def digest(self) -> Digest:
        return Digest(self._algorithm, self._hash.hexdigest())

    @property
    def state(self) -> bytes:
        return b""


def start(algorithm: str) -> RunningHash:
    """A hash of no bytes yet."""
    functions = _functions(algorithm)
    return _ResumableHash(algorithm, functions) if functions else _PlainHash(algorithm)


def resume(algorithm: str, state: bytes) -> RunningHash | None:
    """A hash that goes on from a saved state, or None where the state cannot be used."""
    functions = _functions(algorithm)
    if functions is None or len(state) != functions.context_size:
        return None
    return _ResumableHash(algorithm, functions, state)
