"""What signatures look like in a registry: manifests of signatures, and what they point at.

A manifest that holds nothing but signatures and statements about an image is told from an image by the media types of
all its layers, and by what they hold. Anything else can be run or used, and needs a signature.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from registry.domain.manifest import INDEX_TYPES, OCI_ARTIFACT, OCI_IMAGE
from registry.signatures import bundle, notation
from registry.signatures.reading import NoSignatureError, at, items, json_object, unambiguous_object

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
MAX_STATEMENTS = 16 * 1024 * 1024  # bytes of all attestations of a manifest, where they have to be read
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
_NO_IMAGE_CONFIGS = ("application/vnd.oci.empty.v1+json", ARTIFACT_TYPES[0], notation.ARTIFACT)


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
    found = (_pointer(entry, _SIGNATURE_LAYERS, MAX_SIGNATURE) for entry in entries)
    return list(dict.fromkeys(each for each in found if each is not None))


def _pointer(layer: object, kinds: Collection[str], largest: int) -> Pointer | None:
    media_type, digest, size = at(layer, "mediaType"), at(layer, "digest"), at(layer, "size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not isinstance(size, int):
        return None
    if media_type not in kinds or not 0 < size <= largest:
        return None
    signature = at(layer, "annotations", "dev.cosignproject.cosign/signature")
    return Pointer(media_type, digest, size, signature if isinstance(signature, str) else None)


def unproven_layers(media_type: str, manifest: bytes) -> tuple[Pointer, ...] | None:
    """Of a manifest of signatures, attestations or lists of parts: the layers that have yet to prove that they are.

    None where it is no such manifest. Clients that run images refuse most of them for the type of their config. But
    cosign gives its signatures the config of an image, and podman then unpacks a layer whatever type it is said to
    have: so those layers count only once they are found to be JSON (`is_statement`).
    An index is such a manifest where all its entries say so: the list of referrers that clients keep under a tag.
    What clients could read otherwise than we do is none.
    """
    try:
        document = unambiguous_object(manifest)
    except NoSignatureError:
        return None
    if media_type in INDEX_TYPES:
        kinds = [at(entry, "artifactType") for entry in items(document.get("manifests"))]
        return () if _all_in(kinds, {*_ABOUT_IMAGES, *ARTIFACT_TYPES}) else None
    if media_type not in (OCI_IMAGE, OCI_ARTIFACT):
        return None
    layers = items(document.get("layers" if media_type == OCI_IMAGE else "blobs"))
    if not _all_in([at(layer, "mediaType") for layer in layers], _ABOUT_IMAGES):
        return None
    if media_type == OCI_ARTIFACT or at(document, "config", "mediaType") in _NO_IMAGE_CONFIGS:
        return ()
    found = [_pointer(layer, _ABOUT_IMAGES, MAX_STATEMENTS) for layer in layers]
    taken = tuple(each for each in found if each is not None)
    small = len(taken) == len(layers) and sum(each.size for each in taken) <= MAX_STATEMENTS
    return tuple(dict.fromkeys(taken)) if small else None


def is_statement(content: bytes) -> bool:
    """Whether a layer is a JSON object in UTF-8: it has no control characters, so no archive with a program in it."""
    try:
        return bool(json_object(content.decode("utf-8")))
    except (UnicodeDecodeError, NoSignatureError):
        return False


def _all_in(kinds: Sequence[object], allowed: Collection[str]) -> bool:
    return bool(kinds) and all(isinstance(kind, str) and kind in allowed for kind in kinds)
