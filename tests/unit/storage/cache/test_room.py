"""What the cache gives up for something new."""

import random

import pytest

from registry.storage.cache.room import CachedFile, CacheRoom


def files(*sizes: int) -> list[CachedFile]:
    """Each was used after the one before it."""
    return [CachedFile(f"file{number}", size, number) for number, size in enumerate(sizes)]


def names(evicted: list[CachedFile] | None) -> list[str] | None:
    return None if evicted is None else [file.name for file in evicted]


@pytest.mark.parametrize(
    ("size", "kept", "filling", "evicted"),
    [
        (10, [], 0, []),
        (10, [30, 30, 30], 0, []),
        (11, [30, 30, 30], 0, ["file0"]),
        (30, [30, 30, 30], 10, ["file0"]),
        (31, [30, 30, 30], 10, ["file0", "file1"]),
        (10, [30, 30, 30], 90, ["file0", "file1", "file2"]),
        (11, [30, 30, 30], 90, None),
        (0, [60, 60], 0, ["file0"]),
        (0, [10, 90], 10, ["file0"]),
    ],
)
def test_the_longest_unused_make_room(size: int, kept: list[int], filling: int, evicted: list[str] | None) -> None:
    shuffled = files(*kept)
    random.Random(1).shuffle(shuffled)  # noqa: S311 - no secret
    assert names(CacheRoom(100).evictions(size, shuffled, filling)) == evicted


@pytest.mark.parametrize(
    ("bound", "size", "admitted"), [(100, 25, True), (100, 26, False), (100, 0, False), (0, 1, False)]
)
def test_one_blob_gets_a_quarter_at_most(bound: int, size: int, admitted: bool) -> None:
    assert CacheRoom(bound).admits(size) is admitted


def test_without_a_bound_nothing_is_kept() -> None:
    assert names(CacheRoom(0).evictions(0, files(1, 2), 0)) == ["file0", "file1"]


def test_never_above_the_bound() -> None:
    chance = random.Random(2)  # noqa: S311 - no secret
    for _ in range(500):
        bound, size, filling = chance.randrange(1000), chance.randrange(300), chance.randrange(300)
        kept = files(*(chance.randrange(200) for _ in range(chance.randrange(8))))
        evicted = CacheRoom(bound).evictions(size, kept, filling)
        if evicted is None:
            assert size + filling > bound
        else:
            left = sum(file.size for file in kept) - sum(file.size for file in evicted)
            assert left + size + filling <= bound
            assert not evicted or left + evicted[-1].size + size + filling > bound, "more than was needed"
