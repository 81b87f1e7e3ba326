"""Hashes that can be put aside and taken up again."""

import hashlib
import random

import pytest

from registry.domain.digest import ALGORITHMS
from registry.storage import hashing
from registry.storage.hashing import RunningHash


@pytest.fixture
def without_libcrypto(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose libcrypto does not show its structs."""
    monkeypatch.setattr(hashing, "_functions", lambda _algorithm: None)


def resumed(algorithm: str, state: bytes) -> RunningHash:
    running = hashing.resume(algorithm, state)
    assert running is not None
    return running


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_state_at_any_split_goes_on_to_the_digest_of_hashlib(algorithm: str) -> None:
    chance = random.Random(algorithm)  # noqa: S311 - no secret
    for _ in range(200):
        content = chance.randbytes(chance.choice([0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 1000, 5000]))
        cuts = sorted(chance.randrange(len(content) + 1) for _ in range(chance.randrange(6)))
        running = hashing.start(algorithm)
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            running.update(content[start:end])
            assert running.digest().hex == hashlib.new(algorithm, content[:end]).hexdigest()
            running = resumed(algorithm, running.state)
        assert running.digest().algorithm == algorithm
        assert running.digest().hex == hashlib.new(algorithm, content).hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_state_is_a_copy(algorithm: str) -> None:
    running = hashing.start(algorithm)
    running.update(b"first")
    state = running.state
    running.update(b"second")
    assert resumed(algorithm, state).digest().hex == hashlib.new(algorithm, b"first").hexdigest()
    assert running.digest().hex == hashlib.new(algorithm, b"firstsecond").hexdigest()


def test_a_state_that_cannot_be_one_is_not_taken() -> None:
    state = hashing.start("sha256").state
    assert state
    for wrong in (b"", state[:-1], state + b"x", hashing.start("sha512").state):
        assert hashing.resume("sha256", wrong) is None


@pytest.mark.usefixtures("without_libcrypto")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_without_libcrypto_the_digest_is_right_and_there_is_no_state(algorithm: str) -> None:
    running = hashing.start(algorithm)
    running.update(b"some ")
    assert running.state == b""
    running.update(b"bytes")
    assert running.digest().hex == hashlib.new(algorithm, b"some bytes").hexdigest()
    assert hashing.resume(algorithm, b"") is None
