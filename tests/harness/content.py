"""Images, indexes and artifacts made in memory, for tests that speak HTTP themselves.

The same arguments give the same bytes and so the same digests. Sources: OCI image specification 1.1
("Image Manifest", "Image Index", "Image Configuration"), Docker "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCTETS = "application/octet-stream"

Json = dict[str, Any]


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress; the same seed gives the same bytes."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - no secret


@dataclass(frozen=True)
class Blob:
    """Bytes with a media type: a layer, a config, or a manifest."""

    content: bytes
    media_type: str = OCTETS

    @cached_property
    def digest(self) -> str:
        return digest_of(self.content)

    @cached_property
    def sha512(self) -> str:
        return digest_of(self.content, "sha512")

    @property
    def size(self) -> int:
        return len(self.content)

    def descriptor(self, **more: object) -> Json:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **more}

    def json(self) -> Json:
        decoded: Json = json.loads(self.content)
        return decoded


@dataclass(frozen=True)
class Layer(Blob):
    """A layer; `diff_id` is the digest of the tar before compression."""

    diff_id: str = ""


@dataclass(frozen=True)
class Image:
    """A manifest with the blobs it names."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        return (self.config, *self.layers)

    @property
    def digest(self) -> str:
        return self.manifest.digest


@dataclass(frozen=True)
class Index:
    """An index (manifest list) with the images it names."""

    manifest: Blob
    images: tuple[Image, ...]

    @property
    def digest(self) -> str:
        return self.manifest.digest


def json_blob(document: Mapping[str, object], media_type: str) -> Blob:
    return Blob(json.dumps(document, separators=(",", ":")).encode(), media_type)


def tar_of(files: Mapping[str, bytes], mode: int = 0o755) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def layer(files: Mapping[str, bytes], *, media_type: str = OCI_LAYER) -> Layer:
    """A real layer: a tar of the files, compressed by gzip where the media type says so."""
    tar = tar_of(files)
    packed = gzip.compress(tar, compresslevel=1, mtime=0) if media_type.endswith("gzip") else tar
    return Layer(packed, media_type, digest_of(tar))


def random_layer(size: int, seed: int = 0, *, media_type: str = OCI_LAYER) -> Layer:
    """A layer of one file with `size` bytes that do not compress."""
    return layer({f"random-{seed}": random_bytes(size, seed)}, media_type=media_type)


def config(
    layers: Sequence[Blob], *, architecture: str = "amd64", media_type: str = OCI_CONFIG, command: Sequence[str] = ()
) -> Blob:
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": list(command)} if command else {},
        "rootfs": {"type": "layers", "diff_ids": [item.diff_id for item in layers if isinstance(item, Layer)]},
    }
    return json_blob(document, media_type)


def image(
    *layers: Blob,
    docker: bool = False,
    architecture: str = "amd64",
    command: Sequence[str] = (),
    subject: Blob | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """An image of these layers: OCI, or Docker version 2 schema 2."""
    config_type = DOCKER_CONFIG if docker else OCI_CONFIG
    settings = config(layers, architecture=architecture, media_type=config_type, command=command)
    manifest_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    document: Json = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": settings.descriptor(),
        "layers": [item.descriptor() for item in layers],
    }
    return Image(_manifest(document, manifest_type, subject, annotations), settings, layers)


def small_image(seed: int = 0, *, docker: bool = False, architecture: str = "amd64") -> Image:
    """An image of one small layer; another seed gives another image."""
    kind = DOCKER_LAYER if docker else OCI_LAYER
    return image(layer({"seed": str(seed).encode()}, media_type=kind), docker=docker, architecture=architecture)


def artifact(
    *files: Blob,
    artifact_type: str | None = "application/vnd.example.thing",
    subject: Blob | None = None,
    annotations: Mapping[str, str] | None = None,
    settings: Blob | None = None,
) -> Image:
    """An OCI artifact: an image manifest with an artifactType and (by default) the empty config."""
    settings = settings or Blob(b"{}", OCI_EMPTY)
    contents = files or (Blob(b"{}", OCI_EMPTY),)
    document: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    document |= {"config": settings.descriptor(), "layers": [item.descriptor() for item in contents]}
    return Image(_manifest(document, OCI_MANIFEST, subject, annotations), settings, contents)


def index(
    *images: Image,
    docker: bool = False,
    artifact_type: str | None = None,
    subject: Blob | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Index:
    """An index (or Docker manifest list) over images, each with the platform of its config."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    document: Json = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    document["manifests"] = [item.manifest.descriptor(platform=_platform(item)) for item in images]
    return Index(_manifest(document, media_type, subject, annotations), images)


def oci_layout(item: Image | Index, name: str) -> dict[str, bytes]:
    """The files of an OCI image layout that holds one image or index under a name (a tag, or a full name)."""
    parts = item.images if isinstance(item, Index) else (item,)
    blobs = [item.manifest, *(blob for part in parts for blob in (part.manifest, *part.blobs))]
    names = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
    listing = {"schemaVersion": 2, "manifests": [item.manifest.descriptor(annotations=names)]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(listing).encode()}
    return files | {f"blobs/sha256/{blob.digest.removeprefix('sha256:')}": blob.content for blob in blobs}


def write_layout(item: Image | Index, name: str, folder: Path) -> Path:
    """Writes an OCI image layout into a new folder; returns it."""
    for path, content in oci_layout(item, name).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def _platform(item: Image) -> Json:
    settings = item.config.json()
    return {"architecture": settings.get("architecture", "amd64"), "os": settings.get("os", "linux")}


def _manifest(document: Json, media_type: str, subject: Blob | None, annotations: Mapping[str, str] | None) -> Blob:
    if subject is not None:
        document["subject"] = subject.descriptor()
    if annotations:
        document["annotations"] = dict(annotations)
    return json_blob(document, media_type)
