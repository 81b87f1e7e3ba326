"""What signatures look like in a registry: manifests of signatures, and what they point at.

A manifest that holds nothing but signatures and statements about an image is told from an image by the media types of
its layers alone: all of them are of a list. What stands on no such list can be run or used, and needs a signature.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.domain.manifest import INDEX_TYPES, OCI_ARTIFACT, OCI_IMAGE
from registry.signatures import bundle, notation
from registry.signatures.reading import NoSignatureError, at, items, json_object

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ARTIFACT_TYPES = (
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    bundle.BUNDLE,
    notation.ARTIFACT,
    # releases 2.5 and 2.6 of cosign left the type of a bundle's manifest to its config, which is empty
    "application/vnd.oci.empty.v1+json",
)
"""What the manifests of signatures are listed as among the referrers of an image."""

MAX_MANIFEST = 512 * 1024  # bytes; cosign's with 64 signatures and their certificates has about 350 KB
MAX_SIGNATURE = 256 * 1024  # bytes of a payload, bundle or envelope; a chain of 8 certificates has about 20 KB

_SIGNATURE_LAYERS = {SIMPLE_SIGNING, bundle.BUNDLE, notation.JWS, notation.COSE}
_STATEMENT_LAYERS = {
    "application/vnd.dsse.envelope.v1+json",
    "application/vnd.in-toto+json",
    "application/vnd.cyclonedx+json",
    "application/vnd.cyclonedx+xml",
    "application/vnd.syft+json",
    "application/spdx+json",
    "text/spdx",
    "text/spdx+json",
}
_ABOUT_IMAGES = _SIGNATURE_LAYERS | _STATEMENT_LAYERS


@dataclass(frozen=True, slots=True)
class Pointer:
    """A layer that is a signature, or the payload of one; `signature` is cosign's annotation, in base64."""

    media_type: str
    digest: str
    size: int
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A pointer with the bytes it points at."""

    pointer: Pointer
    content: bytes


def pointers(manifest: bytes) -> list[Pointer]:
    """The signatures of a manifest, in its order, each once; none where it is too large, or has a layer too large."""
    if len(manifest) > MAX_MANIFEST:
        return []
    try:
        document = json_object(manifest)
    except NoSignatureError:
        return []
    entries = [*items(document.get("layers")), *items(document.get("blobs"))]
    return list(dict.fromkeys(found for entry in entries if (found := _pointer(entry)) is not None))


def _pointer(layer: object) -> Pointer | None:
    media_type, digest, size = at(layer, "mediaType"), at(layer, "digest"), at(layer, "size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not isinstance(size, int):
        return None
    if media_type not in _SIGNATURE_LAYERS or not 0 < size <= MAX_SIGNATURE:
        return None
    signature = at(layer, "annotations", "dev.cosignproject.cosign/signature")
    return Pointer(media_type, digest, size, signature if isinstance(signature, str) else None)


def is_about_images(media_type: str, manifest: bytes) -> bool:
    """Whether a manifest holds only signatures, attestations or lists of parts, which are served without a signature.

    An index is one where all its entries say so: the list of referrers that clients keep under a tag.
    """
    try:
        document = json_object(manifest)
    except NoSignatureError:
        return False
    if media_type == OCI_IMAGE:
        return _all_about_images(document.get("layers"), "mediaType")
    if media_type == OCI_ARTIFACT:
        return _all_about_images(document.get("blobs"), "mediaType")
    if media_type in INDEX_TYPES:
        return _all_about_images(document.get("manifests"), "artifactType")
    return False


def _all_about_images(entries: object, name: str) -> bool:
    kinds = [at(entry, name) for entry in items(entries)]
    allowed = _ABOUT_IMAGES if name == "mediaType" else {*_ABOUT_IMAGES, *ARTIFACT_TYPES}
    return bool(kinds) and all(isinstance(kind, str) and kind in allowed for kind in kinds)
