"""What is pushed: large layers out of one file of random bytes, and small images."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = (
    f"{MANIFEST_TYPE}, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
)
"""What clients of today accept. To others the peer sends schema 1, which it has to make first."""

SMALL_LAYER = 32 * 1024
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_TAIL = 16
_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layer:
    """The bytes of a file and a tail after them, which makes many layers of one file."""

    file: Path
    file_size: int
    tail: bytes
    digest: str

    @property
    def size(self) -> int:
        return self.file_size + len(self.tail)


class LayerSource:
    """Makes layers of `size` bytes, each with a digest of its own, out of one file in the page cache."""

    def __init__(self, file: Path, size: int) -> None:
        self._file = file
        self._file_size = size - _TAIL
        self._count = 0
        self._hash = hashlib.sha256()
        with file.open("wb") as output:
            left = self._file_size
            while left:
                piece = os.urandom(min(_PIECE, left))
                output.write(piece)
                self._hash.update(piece)
                left -= len(piece)

    @property
    def file(self) -> Path:
        return self._file

    def next(self) -> Layer:
        self._count += 1
        tail = self._count.to_bytes(_TAIL, "big")
        whole = self._hash.copy()
        whole.update(tail)
        return Layer(self._file, self._file_size, tail, f"sha256:{whole.hexdigest()}")


@dataclass(frozen=True, slots=True)
class Image:
    """A small image: its blobs by digest, the config first, and the manifest that names them."""

    repository: str
    tag: str
    blobs: dict[str, bytes]
    manifest: bytes


def image(repository: str, tag: str, seed: int | str, layers: int = 5, layer_size: int = SMALL_LAYER) -> Image:
    """The same arguments give the same image; another seed shares no blob with it."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    contents = [chance.randbytes(layer_size) for _ in range(layers)]
    config = json.dumps({"architecture": "amd64", "os": "linux", "created_by": f"image {seed}"}).encode()
    blobs = {sha256(content): content for content in (config, *contents)}
    first, *rest = ((digest, len(content)) for digest, content in blobs.items())
    return Image(repository, tag, blobs, image_manifest(first, rest))


def image_manifest(config: tuple[str, int], layers: Sequence[tuple[str, int]]) -> bytes:
    """A manifest of Docker's schema 2; each blob is told by its digest and size."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "size": config[1], "digest": config[0]},
        "layers": [{"mediaType": _LAYER_TYPE, "size": size, "digest": digest} for digest, size in layers],
    }
    return json.dumps(document, indent=3).encode()


def images(count: int, clients: int, first: int = 0) -> Sequence[list[Image]]:
    """`count` images, beginning with that of the number `first`, dealt out to the clients."""
    numbers = range(first, first + count)
    made = [image(f"bench/app{number % 20}", f"v{number}", seed=number) for number in numbers]
    return [made[client::clients] for client in range(clients)]


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
