"""Artifacts that refer to an image, by plain HTTP and by oras from PyPI."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.client import RegistryClient
from tests.harness.content import Blob, artifact, image, random_bytes, random_layer, small_image
from tests.harness.podman import Podman
from tests.harness.process import run
from tests.harness.server import ShoalServer

SBOM = "application/vnd.example.sbom"
SIGNATURE = "application/vnd.example.signature"

# oras is run as a program of its own, as a user would run it.
ORAS = """
import sys, oras.client
client = oras.client.OrasClient(insecure=True)
if sys.argv[1] == "push":
    chunked = {"do_chunked": True, "chunk_size": int(sys.argv[4])} if sys.argv[4:] else {}
    client.push(target=sys.argv[2], files=[sys.argv[3]], **chunked)
elif sys.argv[1] == "pull":
    client.pull(target=sys.argv[2], outdir=sys.argv[3])
else:
    client.delete_tags(sys.argv[2].rpartition(":")[0], [sys.argv[2].rpartition(":")[2]])
"""


def test_referrers_of_an_image(registry: ShoalServer) -> None:
    item = small_image(121)
    sbom = artifact(Blob(b"sbom"), artifact_type=SBOM, subject=item.manifest, annotations={"made": "now"})
    signature = artifact(Blob(b"signature"), artifact_type=SIGNATURE, subject=item.manifest)
    with RegistryClient(registry.url) as client:
        client.push_image("artifacts/referrers", sbom)
        client.push_image("artifacts/referrers", item, "1")
        client.push_image("artifacts/referrers", signature)

        every = client.referrers("artifacts/referrers", item.digest)
        boms = client.referrers("artifacts/referrers", item.digest, SBOM)

        assert {entry["digest"] for entry in every} == {sbom.digest, signature.digest}
        expected = {**sbom.manifest.descriptor(), "artifactType": SBOM, "annotations": {"made": "now"}}
        assert boms == [expected]
        client.check_image("artifacts/referrers", sbom)
        client.delete_manifest("artifacts/referrers", sbom.digest)
        assert client.referrers("artifacts/referrers", item.digest, SBOM) == []


@pytest.mark.require("skopeo")
def test_an_attached_image_is_still_pulled_by_others(
    containers: Podman, shared_shoal: ShoalServer, client: RegistryClient, tmp_path: Path
) -> None:
    base = image(random_layer(100_000, 122))
    derived = image(random_layer(100_000, 123), subject=base.manifest)
    client.push_image("artifacts/derived", base, "base")
    client.push_image("artifacts/derived", derived, "derived")

    source = f"docker://{shared_shoal.host}/artifacts/derived:derived"
    containers.skopeo("copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'derived'}")

    assert (tmp_path / "derived/manifest.json").read_bytes() == derived.manifest.content
    assert [entry["digest"] for entry in client.referrers("artifacts/derived", base.digest)] == [derived.digest]


@pytest.mark.require("python:oras")
@pytest.mark.parametrize("chunk", [None, 1_000_000], ids=["whole", "chunks"])
def test_python_oras(registry: ShoalServer, tmp_path: Path, chunk: int | None) -> None:
    content = random_bytes(3_500_000, 124 if chunk else 125)
    (tmp_path / "model.bin").write_bytes(content)
    repository = f"artifacts/python-{chunk or 0}"
    target = f"{registry.host}/{repository}:1"
    oras = [sys.executable, "-c", ORAS]
    run([*oras, "push", target, "model.bin", *([str(chunk)] if chunk else [])], cwd=tmp_path)

    run([*oras, "pull", target, tmp_path / "back"])

    assert (tmp_path / "back/model.bin").read_bytes() == content
    run([*oras, "delete", target])
    with RegistryClient(registry.url) as client:
        assert client.resolve(repository, "1") is None
