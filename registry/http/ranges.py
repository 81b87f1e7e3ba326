"""The Range header (RFC 9110, section 14): which bytes of some content are asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.errors import RangeUnsatisfiable

_MAX_RANGES = 64
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse(header: str | None, size: int) -> list[ByteRange]:
    """The ranges that are asked of content of `size` bytes; [] means the whole.

    Raises RangeUnsatisfiable for a malformed header and where no range lies inside. Another unit than
    bytes is ignored, as are ranges that together ask for more than the whole: sending that once is cheaper.
    """
    if header is None:
        return []
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return []
    specs = [spec.strip() for spec in text.split(",") if spec.strip()]
    if not specs or len(specs) > _MAX_RANGES:
        raise RangeUnsatisfiable(size)
    found = [wanted for spec in specs if (wanted := _one(spec, size)) is not None]
    if not found:
        raise RangeUnsatisfiable(size)
    if len(found) > 1 and sum(wanted.length for wanted in found) > size:
        return []
    return found


def _one(spec: str, size: int) -> ByteRange | None:
    """One range, cut to the content; None where it lies outside."""
    match = _SPEC.fullmatch(spec)
    if match is None or not any(match.groups()) or max(map(len, match.groups())) > 19:
        raise RangeUnsatisfiable(size)
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            raise RangeUnsatisfiable(size)
    return ByteRange(start, stop) if start < stop else None
