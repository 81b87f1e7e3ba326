"""The upload of a blob as a state and the decisions on it; no I/O.

OCI distribution specification, "Pushing a blob in chunks": chunks come in order, each beginning
where the last one ended; one that does not is refused with 416 and the session goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.domain.digest import Digest
from registry.errors import BlobUploadInvalid, BlobUploadUnknown, DigestInvalid, SizeInvalid, UploadRangeInvalid

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?")


@dataclass(frozen=True, slots=True)
class UploadState:
    """A session: which repository it was opened in, the algorithm it hashes with, the bytes it has.

    `opener`: the account that began it and alone may go on; "" where there were no accounts.
    """

    id: str
    repository: str
    algorithm: str
    offset: int
    opener: str = ""


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part of a multipart upload that the store has. `etag` is opaque; `crc32` is "" where MD5 was checked."""

    etag: str
    size: int
    crc32: str = ""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """A session whose bytes are staged in an object store: all that any node needs to go on with it.

    The bytes up to `offset` are the parts of the multipart upload `multipart` of the object `key`, and after
    them the small object `tail` (as a part it would be too small; "" where there is none). `tails` names have been
    used up; the next one is known before the store is asked to make that object. `holder` is the request that
    writes, until `held_until` (seconds since the epoch). One that takes over from a holder which did not let go
    leaves that name to it, so that a late write of the other one meets nothing that counts.
    """

    id: str
    repository: str
    algorithm: str
    key: str
    last_byte: float
    offset: int = 0
    hash_state: bytes = b""
    multipart: str = ""
    parts: tuple[StagedPart, ...] = ()
    tails: int = 0
    tail: str = ""
    tail_size: int = 0
    holder: str = ""
    held_until: float = 0.0
    opener: str = ""

    @property
    def state(self) -> UploadState:
        return UploadState(self.id, self.repository, self.algorithm, self.offset, self.opener)

    @property
    def next_tail(self) -> str:
        """What the next small object will be called: it may be there before the session says so."""
        return f"{self.key}.{self.tails + 1}"

    def leftovers(self) -> tuple[Leftover, ...]:
        """What the store may hold of a session that ends without a blob."""
        names = (self.key, self.next_tail, *((self.tail,) if self.tail else ()))
        return (*map(Leftover, names), Leftover(self.key, self.multipart or ANY_MULTIPART))

    def leftovers_beside(self, kept: str) -> tuple[Leftover, ...]:
        """What the store holds of a session that became the object `kept`: all is known, as nothing is under way."""
        tail = (Leftover(self.tail),) if self.tail not in ("", kept) else ()
        given_up = (Leftover(self.key, self.multipart),) if self.multipart and kept != self.key else ()
        return (*tail, *given_up)


def check_opener(state: UploadState, visitor: str) -> None:
    """Raises BlobUploadUnknown for everybody but the one who began the upload: the session is nobody else's."""
    if state.opener not in ("", visitor):
        raise BlobUploadUnknown("no such upload: it ended, was cancelled or expired", {"upload": state.id})


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in the store that nothing needs: an object, or (where `multipart` is set) its unfinished upload."""

    key: str
    multipart: str = ""


ANY_MULTIPART = "*"
"""The multipart uploads of a key whose numbers nobody wrote down: a node died just as it began one."""


def object_key(name: str) -> str:
    """Where an object lies that nobody else names so."""
    return f"blobs/{name[:2]}/{name}"


def object_remains(key: str) -> tuple[Leftover, ...]:
    """What the store may hold of an object that somebody was about to make."""
    return Leftover(key), Leftover(key, ANY_MULTIPART)


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """The bytes `start` to `end` of the blob, both included."""

    start: int
    end: int

    @staticmethod
    def parse(header: str) -> ChunkRange:
        """Read an upload's Content-Range (`start-end`); raises BlobUploadInvalid."""
        match = _CONTENT_RANGE.fullmatch(header.strip())
        if match is None:
            raise BlobUploadInvalid("Content-Range of a chunk has the form start-end", {"range": header[:64]})
        return ChunkRange(int(match[1]), int(match[2]))

    @property
    def length(self) -> int:
        return self.end - self.start + 1


def check_chunk(state: UploadState, content_range: ChunkRange | None, content_length: int | None) -> None:
    """Decide whether a chunk may be appended.

    Raises UploadRangeInvalid for a chunk out of order, SizeInvalid for a range that contradicts the
    length of the body.
    """
    if content_range is None:
        return
    if content_range.start != state.offset or content_range.end < content_range.start:
        raise UploadRangeInvalid(f"the next chunk has to begin at byte {state.offset}", state.offset)
    if content_length is not None and content_length != content_range.length:
        raise SizeInvalid(
            f"Content-Range names {content_range.length} bytes, Content-Length {content_length}",
            {"range": content_range.length, "length": content_length},
        )


def check_received(content_range: ChunkRange | None, received: int) -> None:
    """After the body of a chunk: raises SizeInvalid where it was shorter or longer than its range."""
    if content_range is not None and received != content_range.length:
        raise SizeInvalid(f"Content-Range names {content_range.length} bytes, the body had {received}")


def check_digest(announced: Digest, found: Digest) -> None:
    """Raises DigestInvalid where the content is not what the client said."""
    if announced != found:
        raise DigestInvalid(
            "the content does not have the digest that was given", {"given": str(announced), "content": str(found)}
        )
