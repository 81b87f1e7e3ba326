"""How large the parts of a multipart upload are. Amazon S3 user guide, "Amazon S3 multipart upload limits".

At most 10,000 parts, each but the last of at least 5 MiB and at most 5 GiB.
"""

from __future__ import annotations

MIN_PART = 5 * 1024 * 1024
_FIRST_PART = 8 * 1024 * 1024
_PARTS_OF_A_SIZE = 1000


def part_size(number: int) -> int:
    """The size of the part `number` (from 1): it doubles every 1,000 parts, so 10,000 of them hold 8 TiB."""
    return _FIRST_PART << ((number - 1) // _PARTS_OF_A_SIZE)


def least_part(number: int) -> int:
    """What a client must have sent at the end of a request for it to become a part: so that short chunks do not
    use up the 10,000 parts.
    """
    return MIN_PART if number <= _PARTS_OF_A_SIZE else part_size(number) // 2
