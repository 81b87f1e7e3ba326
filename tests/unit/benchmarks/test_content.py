"""What is pushed has the digests that it is said to have."""

import hashlib
from pathlib import Path

import pytest

from benchmarks.load.content import SMALL_LAYER, LayerSource, image, images
from benchmarks.plan import size_text
from registry.domain import manifest


def test_layers_of_one_file(tmp_path: Path) -> None:
    size = 3 * 1024 * 1024 + 17
    source = LayerSource(tmp_path / "layer", size)
    layers = [source.next() for _ in range(3)]
    assert len({layer.digest for layer in layers}) == 3
    for layer in layers:
        content = layer.file.read_bytes() + layer.tail
        assert layer.size == len(content) == size
        assert layer.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_image_is_one_for_a_registry() -> None:
    made = image("bench/image", "latest", seed=7)
    read = manifest.parse(made.manifest, None, "sha256")
    assert [digest for digest, _ in read.refs] == list(made.blobs)
    assert len(made.blobs) == 6
    for digest, content in made.blobs.items():
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert [len(content) for content in made.blobs.values()][1:] == [SMALL_LAYER] * 5


def test_images_share_nothing_and_are_all_dealt_out() -> None:
    hands = images(10, 4)
    assert sorted(map(len, hands)) == [2, 2, 3, 3]
    made = [image for hand in hands for image in hand]
    assert len({(image.repository, image.tag) for image in made}) == 10
    assert len({digest for image in made for digest in image.blobs}) == 60
    assert images(10, 4) == hands


@pytest.mark.parametrize(
    ("size", "text"),
    [(1024**3, "1 GiB"), (128 * 1024**2, "128 MiB"), (500_000_000, "500 MB"), (1_234_567, "1,234,567 bytes")],
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text
