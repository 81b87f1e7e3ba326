"""The statements that changes are made of, built once."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, exists, insert, select, update

from registry.storage.metadata.schema import (
    blob_links,
    blobs,
    garbage,
    head,
    manifests,
    pending,
    properties,
    references,
    repositories,
    tags,
)

REPOSITORY_ID = select(repositories.c.id).where(repositories.c.name == bindparam("name"))
ADD_REPOSITORY = insert(repositories)

BLOB = select(blobs.c.size, blobs.c.location).where(blobs.c.digest == bindparam("d"))
ADD_BLOB = insert(blobs)
SET_BLOB = (
    update(blobs)
    .where(blobs.c.digest == bindparam("d"))
    .values(size=bindparam("new_size"), location=bindparam("new_location"))
)
DROP_BLOB = delete(blobs).where(blobs.c.digest == bindparam("d"))

_THIS_LINK = (blob_links.c.digest == bindparam("d")) & (blob_links.c.repository_id == bindparam("r"))
LINK = select(blob_links.c.unneeded_since).where(_THIS_LINK)
ANY_LINK = select(blob_links.c.repository_id).where(blob_links.c.digest == bindparam("d")).limit(1)
ADD_LINK = insert(blob_links)
SET_UNNEEDED = update(blob_links).where(_THIS_LINK).values(unneeded_since=bindparam("since"))
DROP_LINK = delete(blob_links).where(_THIS_LINK)
LINKED = select(blob_links.c.digest).where(
    blob_links.c.repository_id == bindparam("r"), blob_links.c.digest.in_(bindparam("digests", expanding=True))
)
UNNEEDED = (
    select(blob_links.c.digest, blob_links.c.repository_id, repositories.c.name)
    .join(repositories)
    .where(blob_links.c.unneeded_since < bindparam("before"))
    .where(repositories.c.name.not_in(bindparam("spare", expanding=True)))
    .where(~exists().where(pending.c.repository == repositories.c.name))  # a slave gathers what it will show
    .limit(bindparam("limit"))
)
COUNT_UNLINK = update(head).values(unlinks=head.c.unlinks + 1)
ADD_GARBAGE = insert(garbage).from_select(
    ["digest"],
    select(bindparam("digest", type_=garbage.c.digest.type)).where(
        ~exists().where(garbage.c.digest == bindparam("digest"))
    ),
)
DROP_GARBAGE = delete(garbage).where(garbage.c.digest == bindparam("d"))

_THIS_MANIFEST = (manifests.c.repository_id == bindparam("r")) & (manifests.c.digest == bindparam("d"))
MANIFEST_TYPE = select(manifests.c.media_type).where(_THIS_MANIFEST)
MANIFEST_TYPES = select(manifests.c.digest, manifests.c.media_type).where(
    manifests.c.repository_id == bindparam("r"), manifests.c.digest.in_(bindparam("digests", expanding=True))
)
ADD_MANIFEST = insert(manifests)
DROP_MANIFEST = delete(manifests).where(_THIS_MANIFEST)
KNOWN_MANIFESTS = select(manifests.c.digest).where(
    manifests.c.repository_id == bindparam("r"), manifests.c.digest.in_(bindparam("digests", expanding=True))
)

ADD_REFERENCE = insert(references)
_OF_MANIFEST = (references.c.repository_id == bindparam("r")) & (references.c.manifest == bindparam("d"))
_other = references.alias("other")
BEGIN_GRACE = (
    update(blob_links)
    .where(
        blob_links.c.repository_id == bindparam("r"),
        blob_links.c.digest.in_(select(references.c.target).where(_OF_MANIFEST)),
        ~exists().where(
            _other.c.repository_id == bindparam("r"),
            _other.c.target == blob_links.c.digest,
            _other.c.manifest != bindparam("d"),
        ),
    )
    .values(unneeded_since=bindparam("since"))
)
DROP_REFERENCES = delete(references).where(_OF_MANIFEST)
IS_TARGET = select(exists().where(references.c.repository_id == bindparam("r"), references.c.target == bindparam("d")))

_THIS_TAG = (tags.c.repository_id == bindparam("r")) & (tags.c.name == bindparam("t"))
TAG = select(tags.c.digest).where(_THIS_TAG)
TAGS_NAMED = select(tags.c.name, tags.c.digest).where(
    tags.c.repository_id == bindparam("r"), tags.c.name.in_(bindparam("names", expanding=True))
)
ADD_TAG = insert(tags)
SET_TAG = update(tags).where(_THIS_TAG).values(digest=bindparam("new_digest"))
DROP_TAG = delete(tags).where(_THIS_TAG)
TAGS_OF = select(tags.c.name).where(tags.c.repository_id == bindparam("r"), tags.c.digest == bindparam("d"))
DROP_TAGS_OF = delete(tags).where(tags.c.repository_id == bindparam("r"), tags.c.digest == bindparam("d"))

_THE_MOVE = properties.c.name == "storage move"
MOVE = select(properties.c.value).where(_THE_MOVE)
FORGET_MOVE = delete(properties).where(_THE_MOVE)
SET_MOVE = update(properties).where(_THE_MOVE).values(value=bindparam("new"))
ADD_MOVE = insert(properties).values(name="storage move")

# What readers ask, too.
REPOSITORIES = (
    select(repositories.c.name)
    .where(repositories.c.name > bindparam("after"), exists().where(manifests.c.repository_id == repositories.c.id))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)
