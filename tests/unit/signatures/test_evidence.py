"""Telling signatures from images, and finding them in a manifest."""

from __future__ import annotations

import gzip
import json

import pytest

from registry.signatures.evidence import (
    MAX_MANIFEST,
    MAX_SIGNATURE,
    MAX_STATEMENTS,
    is_statement,
    pointers,
    unproven_layers,
)
from tests.harness import signing
from tests.harness.content import (
    DOCKER_LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Blob,
    Json,
    artifact,
    image,
    index,
    layer,
    small_image,
    tar_of,
)
from tests.harness.signing import BUNDLE, JWS, SIMPLE_SIGNING, new_key, signature_image

IMAGE, KEY = small_image(1), new_key()


def is_exempt(blob: Blob) -> bool:
    return unproven_layers(blob.media_type, blob.content) is not None


def listing(*entries: Json) -> Blob:
    return Blob(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), OCI_INDEX)


def test_pointers_of_what_cosign_pushes() -> None:
    pair = b"a payload", b"a signature"
    found = pointers(signature_image(pair, (b"another", b"x"), pair).manifest.content)
    assert [(each.media_type, each.digest, each.signature) for each in found] == [
        (SIMPLE_SIGNING, Blob(pair[0]).digest, signing.b64(pair[1])),
        (SIMPLE_SIGNING, Blob(b"another").digest, signing.b64(b"x")),
    ]


def test_layers_of_other_kinds_or_sizes_are_no_signatures() -> None:
    one = signature_image((b"a payload", b"a signature")).manifest.json()
    for size in (0, -1, MAX_SIGNATURE + 1, "9", None):
        one["layers"][0]["size"] = size
        assert pointers(json.dumps(one).encode()) == []
    assert pointers(IMAGE.manifest.content) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"layers": {}}', b'{"layers": [1, null, {}]}', b"[" * 100_000])
def test_what_is_no_manifest_has_none(content: bytes) -> None:
    assert pointers(content) == []
    assert unproven_layers(OCI_MANIFEST, content) is None
    assert unproven_layers(OCI_INDEX, content) is None


def test_a_manifest_that_is_too_large_is_not_read() -> None:
    content = signature_image((b"a payload", b"a signature")).manifest.content
    assert pointers(content + b" " * (MAX_MANIFEST - len(content)))
    assert not pointers(content + b" " * (MAX_MANIFEST + 1 - len(content)))


def test_signatures_and_statements_are_served() -> None:
    for served in (
        signing.simply_signed(IMAGE.manifest, KEY),
        signing.simply_signed(IMAGE.manifest, KEY, referring=True),
        signing.bundled(IMAGE.manifest, KEY),
        signing.notation_signed(IMAGE.manifest, signing.new_signer()),
        artifact(Blob(b"{}", "application/spdx+json"), artifact_type="application/spdx+json", subject=IMAGE.manifest),
        image(Blob(b"{}", "application/vnd.in-toto+json")),  # an attestation of BuildKit
    ):
        assert is_exempt(served.manifest)


def test_what_can_be_run_is_not() -> None:
    payload = Blob(b"a payload", SIMPLE_SIGNING)
    for refused in (
        IMAGE,
        small_image(docker=True),
        image(layer({"a": b"b"}), subject=IMAGE.manifest),
        image(payload, layer({"a": b"b"})),
        image(layer({"a": b"b"}, media_type=DOCKER_LAYER), payload, subject=IMAGE.manifest),
        image(),
        image(subject=IMAGE.manifest),
        artifact(Blob(b"a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"), subject=IMAGE.manifest),
        artifact(Blob(b"?", OCI_LAYER), artifact_type=BUNDLE, subject=IMAGE.manifest),
        artifact(Blob(b"?", OCI_LAYER), artifact_type=JWS, subject=IMAGE.manifest),
    ):
        assert not is_exempt(refused.manifest)


def test_indexes_of_signatures_alone_are_served() -> None:
    signature = {**signing.bundled(IMAGE.manifest, KEY).manifest.descriptor(), "artifactType": BUNDLE}
    assert is_exempt(listing(signature, signature))
    assert not is_exempt(listing(signature, IMAGE.manifest.descriptor()))
    assert not is_exempt(listing())
    assert not is_exempt(index(IMAGE).manifest)
    assert not is_exempt(index(IMAGE, artifact_type=BUNDLE).manifest)


def test_what_has_the_config_of_an_image_has_to_prove_what_its_layers_are() -> None:
    tagged, referring = (signing.simply_signed(IMAGE.manifest, KEY, referring=each) for each in (False, True))
    found = unproven_layers(tagged.manifest.media_type, tagged.manifest.content)
    assert [each.digest for each in found or ()] == [tagged.layers[0].digest]
    assert unproven_layers(referring.manifest.media_type, referring.manifest.content) == ()


def test_attestations_that_are_too_large_to_be_read() -> None:
    document = image(Blob(b"{}", "application/vnd.in-toto+json")).manifest.json()
    document["layers"] *= 2
    for size, read in ((MAX_STATEMENTS // 2, True), (MAX_STATEMENTS // 2 + 1, False), (0, False)):
        document["layers"] = [{**each, "size": size} for each in document["layers"]]
        assert (unproven_layers(OCI_MANIFEST, json.dumps(document).encode()) is not None) is read


def test_statements_are_text() -> None:
    assert is_statement(signing.payload(IMAGE.digest))
    archive = tar_of({"{": b"}"})
    for content in (b"", b"[]", b"{} x", archive, gzip.compress(archive), '{"a": 1}'.encode("utf-16"), b'{"a": "\0"}'):
        assert not is_statement(content)


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        (b'"layers":[', b'"Layers": [], "layers":['),
        (b'"layers":[', b'"layers":[{"mediaType": "application/gzip"}], "layers":['),
        (b'"layers":[', '"layer\u017f": [], "layers":['.encode()),
        (b'"config":{', b'"config":{"MediaType": "application/vnd.oci.image.config.v1+json", '),
    ],
)
def test_what_clients_may_read_otherwise_is_not_served(said: bytes, hidden: bytes) -> None:
    """Go, in which clients are written, takes names without regard to case, and of two the last one."""
    plain = signing.simply_signed(IMAGE.manifest, KEY, referring=True).manifest.content
    assert unproven_layers(OCI_MANIFEST, plain) is not None
    changed = plain.replace(said, hidden)
    assert changed != plain
    assert unproven_layers(OCI_MANIFEST, changed) is None
