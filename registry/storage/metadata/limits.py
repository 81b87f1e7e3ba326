"""What repositories may take, checked in the transaction of the change that takes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, exists, func, select

from registry.domain import limits as decide
from registry.domain.access import LIMIT, decode
from registry.domain.limits import Limit
from registry.domain.manifest import RefKind
from registry.storage.metadata import statements
from registry.storage.metadata.schema import access_records, blob_links, blobs, references, repositories, tags

_LIMITS = select(access_records.c.value).where(access_records.c.kind == LIMIT)
_IN_PROJECT = (repositories.c.name >= bindparam("low")) & (repositories.c.name < bindparam("high"))
_LINKED = exists().where(
    blob_links.c.digest == blobs.c.digest, blob_links.c.repository_id == repositories.c.id, _IN_PROJECT
)
BYTES = select(func.coalesce(func.sum(blobs.c.size), 0)).where(_LINKED)
TAGS = select(func.count()).select_from(tags.join(repositories)).where(_IN_PROJECT)
_HAS_BLOB = select(
    exists()
    .where(_IN_PROJECT, blob_links.c.repository_id == repositories.c.id)
    .where(blob_links.c.digest == bindparam("d"))
)
_LISTED_BY = select(references.c.manifest).where(
    references.c.repository_id == bindparam("r"),
    references.c.target == bindparam("d"),
    references.c.kind.in_((RefKind.MANIFEST.value, RefKind.OPTIONAL_MANIFEST.value)),
)


def of_repository(connection: Connection, repository: str) -> list[Limit]:
    known = (decode(LIMIT, value) for value in connection.scalars(_LIMITS))
    return decide.of_repository((limit for limit in known if isinstance(limit, Limit)), repository)


def check_blob(connection: Connection, repository: str, digest: str, size: int) -> None:
    """Before a repository gets a blob. Raises LimitReached; a blob that the project has already costs nothing."""
    for limit in of_repository(connection, repository):
        if limit.bytes is None:
            continue
        low, high = decide.range_of(limit.pattern)
        project = {"low": low, "high": high}
        if not connection.scalar(_HAS_BLOB, {**project, "d": digest}):
            decide.check_bytes(limit, int(connection.scalar(BYTES, project) or 0), size)


def check_tags(connection: Connection, repository: str, moved: Iterable[str], new: Sequence[str]) -> None:
    """Before tags are `moved` to another manifest, or are `new`. Raises LimitReached."""
    found = of_repository(connection, repository)
    decide.check_mutable(found, moved)
    for limit in found:
        if new and limit.tags is not None:
            low, high = decide.range_of(limit.pattern)
            decide.check_tags(limit, int(connection.scalar(TAGS, {"low": low, "high": high}) or 0), len(new))


def check_delete(connection: Connection, repository: str, repository_id: int, digest: str) -> None:
    """Before a manifest goes, or is another thing than it was. Raises LimitReached.

    What an immutable tag names is no longer the same either where an index has lost one of its images.
    """
    found = [limit for limit in of_repository(connection, repository) if limit.immutable]
    met, waiting = {digest}, [digest] if found else []
    while waiting:
        key = {"r": repository_id, "d": waiting.pop()}
        decide.check_mutable(found, connection.scalars(statements.TAGS_OF, key).all())
        more = set(connection.scalars(_LISTED_BY, key)) - met
        met |= more
        waiting += more
