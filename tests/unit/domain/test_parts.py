from __future__ import annotations

from registry.domain.parts import MIN_PART, least_part, part_size

MIB, TIB = 1024**2, 1024**4


def test_ten_thousand_parts_hold_the_largest_object() -> None:
    assert sum(part_size(number) for number in range(1, 10_001)) >= 5 * TIB


def test_every_part_is_within_the_limits() -> None:
    sizes = [part_size(number) for number in range(1, 10_001)]
    assert sizes == sorted(sizes)
    assert (min(sizes), max(sizes)) == (8 * MIB, 4096 * MIB)


def test_short_chunks_do_not_use_up_the_parts() -> None:
    assert sum(least_part(number) for number in range(1, 10_001)) >= 3 * TIB
    assert all(MIN_PART <= least_part(number) <= part_size(number) for number in range(1, 10_001))
