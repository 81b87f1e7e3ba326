"""The file of passwords: what it may hold, how it is followed, and what a wrong name costs."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from registry.auth.htpasswd import MOST_BYTES, MOST_WAITING, HtpasswdFile, UnusableFileError, fits, parse
from registry.auth.identity import Identity
from registry.errors import StartupError, Unavailable


def entry(name: str, password: str, kind: str = "2y", cost: int = 4) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return f"{name}:{hashed.replace('$2b$', f'${kind}$')}\n"


def aged(path: Path, content: str, seconds: float = 100.0) -> None:
    """Written long enough ago that the file counts as settled."""
    path.write_text(content)
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    aged(path, entry("ann", "secret-a") + "# a comment\n\n" + entry("bob", "secret-b", "2a"))
    return path


@pytest.fixture
def source(path: Path) -> Iterator[HtpasswdFile]:
    source = HtpasswdFile(path)
    yield source
    source.close()


async def test_who_is_in_it(source: HtpasswdFile) -> None:
    assert await source.check("ann", "secret-a") == Identity("ann")
    assert await source.check("bob", "secret-b") == Identity("bob")
    assert await source.check("ann", "secret-b") is None
    assert await source.check("carl", "secret-a") is None
    assert await source.check("ann", "") is None
    assert await source.check("", "secret-a") is None


def test_an_entry_of_apache() -> None:

    entries = parse(entry("someone", "correct horse", "2y", 5), "file")
    assert fits(entries, "someone", "correct horse")
    assert not fits(entries, "someone", "correct horse\0")
    assert not fits(entries, "someone", "correct hors")


def test_long_passwords_are_compared_as_every_bcrypt_does() -> None:
    entries = parse(entry("ann", "é" * 36), "file")
    assert fits(entries, "ann", "é" * 50)
    assert not fits(entries, "ann", "é" * 35)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ann:$apr1$x$abcdefghijklmnopqrstuv", r"file:1: the entry of ann is not bcrypt; make one with: htpasswd -B"),
        ("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "not bcrypt"),
        ("ann:" + "plain", "not bcrypt"),
        ("ann:$2x$05$" + "a" * 53, "not bcrypt"),
        ("ann:$2y$31$" + "a" * 53, "has a cost of 31, expected 4 to 15; make one with: htpasswd -B -C 12"),
        ("ann", "expected NAME:HASH"),
        (":" + "$2y$05$" + "a" * 53, "expected NAME:HASH"),
        (f"# two\nann:$2y$05${'a' * 53}\nann:$2y$05${'b' * 53}", "file:3: ann is there twice"),
    ],
)
def test_what_is_refused(line: str, said: str) -> None:
    with pytest.raises(UnusableFileError, match=said) as caught:
        parse(line, "file")
    assert "\n" not in str(caught.value)
    hashed = line.rpartition(":")[2]
    assert len(hashed) < 4 or hashed not in str(caught.value)


def test_a_start_with_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"auth.htpasswd: .*absent: cannot be read: No such file"):
        HtpasswdFile(tmp_path / "absent")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StartupError, match="is no regular file"):
        HtpasswdFile(pipe)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(StartupError, match="has more than 4 MiB"):
        HtpasswdFile(large)
    other = tmp_path / "other"
    other.write_bytes(b"\xff\xfe")
    with pytest.raises(StartupError, match="is not UTF-8"):
        HtpasswdFile(other)


async def test_the_file_is_followed(path: Path, source: HtpasswdFile) -> None:
    aged(path, entry("ann", "secret-a") + entry("new", "fresh"))
    assert await source.check("new", "fresh") == Identity("new")
    assert await source.check("bob", "secret-b") is None
    replacement = path.with_name("replacement")
    aged(replacement, entry("ann", "secret-c") + entry("new", "fresh"))
    replacement.rename(path)
    assert await source.check("ann", "secret-c") == Identity("ann")
    assert await source.check("ann", "secret-a") is None


async def test_two_versions_within_one_tick_of_the_clock(path: Path, source: HtpasswdFile) -> None:
    """The same length, inode and times: only that the file was young says that it has to be read again."""
    path.write_text(entry("ann", "first"))
    now = time.time()
    os.utime(path, (now, now))
    assert await source.check("ann", "first") == Identity("ann")
    path.write_text(entry("ann", "other"))
    os.utime(path, (now, now))
    assert await source.check("ann", "other") == Identity("ann")
    assert await source.check("ann", "first") is None


async def test_an_unchanged_file_is_not_read_again(source: HtpasswdFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_read", lambda: pytest.fail("read again"))
    assert await source.check("ann", "secret-a") == Identity("ann")


async def test_nobody_gets_in_by_a_file_that_is_broken(path: Path, source: HtpasswdFile) -> None:
    good = path.read_text()
    aged(path, good + "carl:plain\n")
    with pytest.raises(Unavailable) as caught:
        await source.check("ann", "secret-a")
    assert "plain" not in str(caught.value)
    path.unlink()
    with pytest.raises(Unavailable):
        await source.check("ann", "secret-a")
    aged(path, good)
    assert await source.check("ann", "secret-a") == Identity("ann")


def test_a_name_that_is_not_there_takes_as_long() -> None:
    entries = parse(entry("ann", "secret", cost=9) + entry("bob", "secret", cost=4), "file")

    def median(name: str) -> float:
        times = []
        for _ in range(9):
            begun = time.thread_time()
            fits(entries, name, "wrong")
            times.append(time.thread_time() - begun)
        return statistics.median(times)

    assert median("nobody") == pytest.approx(median("ann"), rel=0.4)
    assert not fits(entries, "nobody", "secret")


async def test_hashing_does_not_hold_up_the_loop_and_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = HtpasswdFile(path)
    held, threads = threading.Event(), set()

    def slow(*_: object) -> bool:
        threads.add(threading.get_ident())
        return held.wait(20)

    monkeypatch.setattr("registry.auth.htpasswd.fits", slow)
    logins = [asyncio.create_task(source.check("ann", "secret-a")) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="too many people"):
        await source.check("ann", "secret-a")
    held.set()
    assert set(await asyncio.gather(*logins)) == {Identity("ann")}
    assert threading.get_ident() not in threads
    source.close()


def test_no_hash_is_shown(source: HtpasswdFile) -> None:
    assert "$2" not in repr(source) + repr(source._seen) + repr(parse(entry("ann", "x"), "file"))
