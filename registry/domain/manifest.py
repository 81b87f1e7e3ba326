"""Manifests: what their bytes refer to (OCI image specification 1.1; Docker image manifest v2, schema 2).

A manifest is kept byte for byte; this module only reads it. Media types that are not known are kept
too: what looks like a descriptor in them is recorded as a reference where it exists, and not required.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.errors import DigestInvalid, ManifestInvalid

MAX_MANIFEST_SIZE = 4 * 1024 * 1024
MAX_REFERENCES = 10_000
MAX_MEDIA_TYPE_LENGTH = 255

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

IMAGE_TYPES = (OCI_IMAGE, DOCKER_IMAGE)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)

# Media types have no case (RFC 6838, section 4.2): those that mean something to us have one spelling.
_KNOWN_SPELLING = {known: known for known in (*IMAGE_TYPES, *INDEX_TYPES, OCI_ARTIFACT, *SCHEMA_1)}
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")

_NONDISTRIBUTABLE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


class RefKind(StrEnum):
    """What a manifest refers to, and whether it has to exist."""

    BLOB = "blob"
    MANIFEST = "manifest"
    OPTIONAL_BLOB = "optional-blob"
    """A layer that need not be pushed: of a non-distributable type, with `urls`, or of an unknown manifest."""
    OPTIONAL_MANIFEST = "optional-manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's bytes, and what a registry has to know of them."""

    media_type: str
    digest: Digest
    content: bytes
    refs: tuple[tuple[str, RefKind], ...] = ()
    subject: str | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def descriptor(self) -> Descriptor:
        """How a list of referrers shows this manifest."""
        return Descriptor(self.media_type, str(self.digest), len(self.content), self.artifact_type, self.annotations)


Document = dict[str, object]


def parse(content: bytes, content_type: str | None, algorithm: str) -> Manifest:
    """Read a manifest that was pushed; raises ManifestInvalid.

    `content_type` is the request's Content-Type without parameters, or None where it has none;
    `algorithm` is the one to name the manifest with.
    """
    document = _load(content)
    media_type = _media_type(document, content_type)
    if media_type in SCHEMA_1 or ("schemaVersion" in document and document["schemaVersion"] == 1):
        raise ManifestInvalid(
            "Docker schema 1 manifests are not accepted; push schema 2 or OCI", {"mediaType": media_type}
        )
    _check_schema_version(document, media_type)
    refs = tuple(dict.fromkeys(_references(document, media_type)))
    if len(refs) > MAX_REFERENCES:
        raise ManifestInvalid(f"a manifest refers to at most {MAX_REFERENCES} blobs or manifests")
    return Manifest(
        media_type=media_type,
        digest=Digest.of(content, algorithm),
        content=content,
        refs=refs,
        subject=_subject(document),
        artifact_type=_artifact_type(document, media_type),
        annotations=_annotations(document),
    )


def _load(content: bytes) -> Document:
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\u" in content:  # half of a surrogate pair is no text, and could not be stored as such
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"the manifest is not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _media_type(document: Document, content_type: str | None) -> str:
    stated = document.get("mediaType")
    if stated is not None and (not isinstance(stated, str) or not stated):
        raise ManifestInvalid("mediaType is not a string")
    if stated and content_type and stated.lower() != content_type.lower():
        raise ManifestInvalid(
            "Content-Type differs from the manifest's mediaType", {"contentType": content_type, "mediaType": stated}
        )
    media_type = content_type or stated or _guess(document)
    if len(media_type) > MAX_MEDIA_TYPE_LENGTH or not _MEDIA_TYPE.fullmatch(media_type):
        raise ManifestInvalid("the media type does not have the form type/subtype", {"mediaType": media_type[:300]})
    return _KNOWN_SPELLING.get(media_type.lower(), media_type)


def _guess(document: Document) -> str:
    if "manifests" in document:
        return OCI_INDEX
    if "config" in document and "layers" in document:
        return OCI_IMAGE
    raise ManifestInvalid("the manifest has no mediaType and the request no Content-Type")


def _check_schema_version(document: Document, media_type: str) -> None:
    if media_type in (*IMAGE_TYPES, *INDEX_TYPES):
        version = document.get("schemaVersion")
        if version != 2 or isinstance(version, bool):
            raise ManifestInvalid("schemaVersion has to be 2")


def _references(document: Document, media_type: str) -> Iterable[tuple[str, RefKind]]:
    if media_type in IMAGE_TYPES:
        if "manifests" in document:
            raise ManifestInvalid("an image manifest has no manifests: it would read as an index too")
        yield _required(document.get("config"), "config"), RefKind.BLOB
        yield from _layers(document.get("layers"))
    elif media_type in INDEX_TYPES:
        if "config" in document or "layers" in document:
            raise ManifestInvalid("an index has neither config nor layers: it would read as an image too")
        yield from ((_required(entry, "manifests"), RefKind.MANIFEST) for entry in _list(document, "manifests"))
    elif media_type == OCI_ARTIFACT:
        yield from ((_required(entry, "blobs"), RefKind.BLOB) for entry in _list(document, "blobs", may_be_absent=True))
    else:
        yield from _unknown_references(document)


def _layers(layers: object) -> Iterable[tuple[str, RefKind]]:
    if not isinstance(layers, list):
        raise ManifestInvalid("layers is not a list")
    for layer in layers:
        digest = _required(layer, "layers")
        optional = bool(layer.get("urls")) or str(layer.get("mediaType")).startswith(_NONDISTRIBUTABLE)
        yield digest, RefKind.OPTIONAL_BLOB if optional else RefKind.BLOB


def _unknown_references(document: Document) -> Iterable[tuple[str, RefKind]]:
    for name, kind in (
        ("config", RefKind.OPTIONAL_BLOB),
        ("layers", RefKind.OPTIONAL_BLOB),
        ("blobs", RefKind.OPTIONAL_BLOB),
        ("manifests", RefKind.OPTIONAL_MANIFEST),
    ):
        value = document.get(name)
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict) and isinstance(entry.get("digest"), str):
                yield entry["digest"], kind


def _list(document: Document, name: str, *, may_be_absent: bool = False) -> list[object]:
    value = document.get(name)
    if value is None and may_be_absent:
        return []
    if not isinstance(value, list):
        raise ManifestInvalid(f"{name} is not a list")
    return value


def _required(entry: object, where: str) -> str:
    """The digest of a descriptor that has to be well formed."""
    if not isinstance(entry, dict):
        raise ManifestInvalid(f"{where}: a descriptor is missing or not an object")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise ManifestInvalid(f"{where}: a descriptor's size is not a number of bytes", {"size": repr(size)[:64]})
    digest, media_type = entry.get("digest"), entry.get("mediaType")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise ManifestInvalid(f"{where}: a descriptor lacks its mediaType or digest")
    try:
        return str(Digest.parse(digest))
    except DigestInvalid as error:
        raise ManifestInvalid(f"{where}: {error.message}", error.detail) from None


def _subject(document: Document) -> str | None:
    subject = document.get("subject")
    return None if subject is None else _required(subject, "subject")


def _artifact_type(document: Document, media_type: str) -> str | None:
    stated = document.get("artifactType")
    if stated is not None and not isinstance(stated, str):
        raise ManifestInvalid("artifactType is not a string")
    if stated or media_type in INDEX_TYPES:
        return stated or None
    config = document.get("config")
    fallback = config.get("mediaType") if isinstance(config, dict) else None
    return fallback if isinstance(fallback, str) else None


def _annotations(document: Document) -> Mapping[str, str]:
    annotations = document.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise ManifestInvalid("annotations is not a map of strings")
    return annotations


def fallback_descriptors(content: bytes) -> list[Descriptor]:
    """The entries of an index that a client keeps under the referrers tag; [] where it is no index."""
    try:
        document = _load(content)
    except ManifestInvalid:
        return []
    entries = document.get("manifests")
    found = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            digest = _required(entry, "manifests")
            found.append(
                Descriptor(
                    entry["mediaType"], digest, entry["size"], _artifact_type(entry, OCI_INDEX), _annotations(entry)
                )
            )
        except ManifestInvalid:
            continue
    return found


def default_platform(content: bytes) -> str | None:
    """The digest of the linux/amd64 image of an index: what an old client is served that knows no index."""
    try:
        entries = _load(content).get("manifests")
    except ManifestInvalid:
        return None
    for entry in entries if isinstance(entries, list) else []:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return str(entry.get("digest"))
    return None
