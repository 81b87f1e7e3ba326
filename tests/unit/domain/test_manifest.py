"""What is read of a manifest, and what is refused."""

import json

import pytest

from registry.domain import manifest as manifests
from registry.domain.digest import Digest
from registry.domain.manifest import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    OCI_ARTIFACT,
    OCI_IMAGE,
    OCI_INDEX,
    SCHEMA_1,
    Manifest,
    RefKind,
)
from registry.errors import ManifestInvalid
from tests.harness.content import Blob, Json, artifact, image, index, random_layer, small_image

CONFIG, LAYER = Blob(b"{}", "application/x-config"), Blob(b"layer", "application/x-layer")
SUBJECT = Blob(b"subject", OCI_IMAGE)


def parse(document: object, content_type: str | None = OCI_IMAGE, algorithm: str = "sha256") -> Manifest:
    return manifests.parse(json.dumps(document).encode(), content_type, algorithm)


def oci_image(**changes: object) -> Json:
    document: Json = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": CONFIG.descriptor(),
        "layers": [LAYER.descriptor()],
    }
    return {key: value for key, value in (document | changes).items() if value is not None}


def oci_index(*entries: Json, **changes: object) -> Json:
    document: Json = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    return {key: value for key, value in (document | changes).items() if value is not None}


class TestReferences:
    @pytest.mark.parametrize("docker", [False, True])
    def test_of_an_image(self, docker: bool) -> None:
        item = image(random_layer(5, 1), random_layer(5, 2), docker=docker)
        found = manifests.parse(item.manifest.content, item.manifest.media_type, "sha256")
        assert found.media_type == (DOCKER_IMAGE if docker else OCI_IMAGE)
        assert (found.content, str(found.digest)) == (item.manifest.content, item.digest)
        assert dict(found.refs) == {blob.digest: RefKind.BLOB for blob in item.blobs}

    @pytest.mark.parametrize("docker", [False, True])
    def test_of_an_index(self, docker: bool) -> None:
        item = index(small_image(1), small_image(2), docker=docker)
        found = manifests.parse(item.manifest.content, item.manifest.media_type, "sha256")
        assert found.media_type == (DOCKER_LIST if docker else OCI_INDEX)
        assert dict(found.refs) == {child.digest: RefKind.MANIFEST for child in item.images}

    def test_a_digest_that_is_named_twice_counts_once(self) -> None:
        assert parse(oci_image(layers=[LAYER.descriptor(), LAYER.descriptor()])).refs == (
            (CONFIG.digest, RefKind.BLOB),
            (LAYER.digest, RefKind.BLOB),
        )

    def test_no_layers_and_no_entries(self) -> None:
        assert parse(oci_image(layers=[])).refs == ((CONFIG.digest, RefKind.BLOB),)
        assert parse(oci_index(), OCI_INDEX).refs == ()

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ],
    )
    def test_a_layer_that_is_not_distributed_need_not_exist(self, media_type: str) -> None:
        layer = Blob(b"layer", media_type).descriptor()
        assert (layer["digest"], RefKind.OPTIONAL_BLOB) in parse(oci_image(layers=[layer])).refs

    def test_a_layer_with_urls_need_not_exist(self) -> None:
        layer = LAYER.descriptor(urls=["https://example.org/layer"])
        assert (LAYER.digest, RefKind.OPTIONAL_BLOB) in parse(oci_image(layers=[layer])).refs
        assert (LAYER.digest, RefKind.BLOB) in parse(oci_image(layers=[LAYER.descriptor(urls=[])])).refs

    def test_of_an_artifact_manifest(self) -> None:
        document = {"mediaType": OCI_ARTIFACT, "artifactType": "application/a", "blobs": [LAYER.descriptor()]}
        found = parse(document, OCI_ARTIFACT)
        assert (found.refs, found.artifact_type) == (((LAYER.digest, RefKind.BLOB),), "application/a")
        assert parse({"mediaType": OCI_ARTIFACT}, OCI_ARTIFACT).refs == ()

    def test_of_an_unknown_type_are_taken_where_they_look_like_some(self) -> None:
        document = {
            "config": CONFIG.descriptor(),
            "layers": [LAYER.descriptor(), "text", {"digest": 5}],
            "manifests": [SUBJECT.descriptor()],
            "other": [{"digest": "sha256:zz"}],
        }
        assert dict(parse(document, "application/vnd.example+json").refs) == {
            CONFIG.digest: RefKind.OPTIONAL_BLOB,
            LAYER.digest: RefKind.OPTIONAL_BLOB,
            SUBJECT.digest: RefKind.OPTIONAL_MANIFEST,
        }


class TestNaming:
    def test_the_digest_is_of_the_bytes_as_they_are(self) -> None:
        content = json.dumps(oci_image(), indent=7).encode() + b"\n \n"
        found = manifests.parse(content, OCI_IMAGE, "sha512")
        assert (found.content, found.digest) == (content, Digest.of(content, "sha512"))

    def test_the_type_comes_from_the_request_or_the_manifest(self) -> None:
        assert parse(oci_image(mediaType=None), DOCKER_IMAGE).media_type == DOCKER_IMAGE
        assert parse(oci_image(), None).media_type == OCI_IMAGE
        assert parse(oci_image(mediaType=None), None).media_type == OCI_IMAGE
        assert parse(oci_index(mediaType=None), None).media_type == OCI_INDEX
        assert parse({}, "application/vnd.example.Mixed+json").media_type == "application/vnd.example.Mixed+json"

    def test_subject_artifact_type_and_annotations(self) -> None:
        found = parse(
            oci_image(subject=SUBJECT.descriptor(), artifactType="application/sbom", annotations={"a": "b", "ä": "☃"})
        )
        assert found.subject == SUBJECT.digest
        assert found.artifact_type == "application/sbom"
        assert dict(found.annotations) == {"a": "b", "ä": "☃"}
        assert found.descriptor.to_json() == {
            "mediaType": OCI_IMAGE,
            "digest": str(found.digest),
            "size": len(found.content),
            "artifactType": "application/sbom",
            "annotations": {"a": "b", "ä": "☃"},
        }

    def test_the_artifact_type_of_an_image_falls_back_to_its_config(self) -> None:
        for empty in (None, ""):
            assert parse(oci_image(artifactType=empty)).artifact_type == CONFIG.media_type

    def test_an_index_has_no_such_fall_back(self) -> None:
        found = parse(oci_index(), OCI_INDEX)
        assert found.artifact_type is None
        assert set(found.descriptor.to_json()) == {"mediaType", "digest", "size"}
        assert parse(oci_index(artifactType="application/a"), OCI_INDEX).artifact_type == "application/a"


class TestRefusals:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"5",
            b"\xff\xfe{}",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b"{}{}",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"schemaVersion": ' + b"9" * 10_000 + b"}",
            "{}".encode("utf-16"),
            b"\xef\xbb\xbf{}",
        ],
        ids=range(15),
    )
    def test_what_is_no_json_object(self, content: bytes) -> None:
        with pytest.raises(ManifestInvalid):
            manifests.parse(content, OCI_IMAGE, "sha256")

    @pytest.mark.parametrize("media_type", SCHEMA_1)
    def test_schema_1_by_type(self, media_type: str) -> None:
        with pytest.raises(ManifestInvalid, match="schema 1"):
            parse({"schemaVersion": 1, "name": "a"}, media_type)
        with pytest.raises(ManifestInvalid, match="schema 1"):
            parse({"mediaType": media_type}, None)

    def test_schema_1_by_version(self) -> None:
        for media_type in (OCI_IMAGE, DOCKER_IMAGE, "application/json", "application/vnd.example+json"):
            with pytest.raises(ManifestInvalid):
                parse({"schemaVersion": 1, "fsLayers": []}, media_type)

    @pytest.mark.parametrize("version", [0, 3, "2", True, [], {}, None, 2.5])
    def test_other_schema_versions(self, version: object) -> None:
        for document, media_type in ((oci_image(), OCI_IMAGE), (oci_index(), OCI_INDEX)):
            with pytest.raises(ManifestInvalid):
                parse(document | {"schemaVersion": version}, media_type)

    def test_a_type_that_contradicts_the_request(self) -> None:
        with pytest.raises(ManifestInvalid, match="differs"):
            parse(oci_image(), DOCKER_IMAGE)

    @pytest.mark.parametrize("media_type", ["text", "a/b/c", "a/b c", "application/ä", "a/b\n", "a/" + "b" * 300])
    def test_a_type_that_is_none(self, media_type: str) -> None:
        with pytest.raises(ManifestInvalid):
            parse({}, media_type)
        with pytest.raises(ManifestInvalid):
            parse({"mediaType": media_type}, None)

    def test_no_type_at_all(self) -> None:
        with pytest.raises(ManifestInvalid):
            parse({"schemaVersion": 2}, None)

    @pytest.mark.parametrize("value", [5, [], {}, True, ""])
    def test_a_media_type_that_is_no_text(self, value: object) -> None:
        with pytest.raises(ManifestInvalid):
            parse(oci_image(mediaType=value))

    @pytest.mark.parametrize(
        "broken",
        [
            None,
            "text",
            [],
            5,
            {},
            {"digest": LAYER.digest, "size": 5},
            {"mediaType": "a/b", "size": 5},
            {"mediaType": "a/b", "digest": LAYER.digest},
            {"mediaType": "a/b", "digest": LAYER.digest, "size": -1},
            {"mediaType": "a/b", "digest": LAYER.digest, "size": 2**63},
            {"mediaType": "a/b", "digest": LAYER.digest, "size": "5"},
            {"mediaType": "a/b", "digest": LAYER.digest, "size": 1.5},
            {"mediaType": "a/b", "digest": LAYER.digest, "size": True},
            {"mediaType": "a/b", "digest": "sha256:zz", "size": 5},
            {"mediaType": "a/b", "digest": "md5:" + "0" * 32, "size": 5},
            {"mediaType": "a/b", "digest": 5, "size": 5},
            {"mediaType": 5, "digest": LAYER.digest, "size": 5},
        ],
        ids=range(17),
    )
    def test_broken_descriptors(self, broken: object) -> None:
        with pytest.raises(ManifestInvalid):
            parse({**oci_image(), "config": broken})
        with pytest.raises(ManifestInvalid):
            parse({**oci_image(), "layers": [LAYER.descriptor(), broken]})
        with pytest.raises(ManifestInvalid):
            parse({**oci_index(), "manifests": [broken]}, OCI_INDEX)
        if broken is not None:
            with pytest.raises(ManifestInvalid):
                parse({**oci_image(), "subject": broken})

    @pytest.mark.parametrize("layers", [None, {}, "text", 5])
    def test_lists_that_are_none(self, layers: object) -> None:
        with pytest.raises(ManifestInvalid):
            parse({**oci_image(), "layers": layers})
        with pytest.raises(ManifestInvalid):
            parse({**oci_index(), "manifests": layers}, OCI_INDEX)

    def test_what_reads_as_an_image_and_an_index(self) -> None:
        """The ambiguity that the image specification warns of (CVE-2021-41190)."""
        with pytest.raises(ManifestInvalid):
            parse(oci_image(manifests=[]))
        for document in (oci_index(config=CONFIG.descriptor()), oci_index(layers=[])):
            with pytest.raises(ManifestInvalid):
                parse(document, OCI_INDEX)

    @pytest.mark.parametrize("annotations", [[1], "text", 5, {"a": 5}, {"a": None}])
    def test_annotations_that_are_no_map_of_text(self, annotations: object) -> None:
        with pytest.raises(ManifestInvalid):
            parse(oci_image(annotations=annotations))

    @pytest.mark.parametrize("artifact_type", [5, [], {}, True])
    def test_an_artifact_type_that_is_no_text(self, artifact_type: object) -> None:
        with pytest.raises(ManifestInvalid):
            parse(oci_image(artifactType=artifact_type))


class TestFallbackDescriptors:
    def test_of_an_index(self) -> None:
        entries = [
            artifact(artifact_type="application/a").manifest.descriptor(artifactType="application/a"),
            SUBJECT.descriptor(annotations={"x": "y"}),
        ]
        found = manifests.fallback_descriptors(json.dumps(oci_index(*entries)).encode())
        assert [entry.to_json() for entry in found] == entries

    def test_broken_entries_are_left_out(self) -> None:
        content = json.dumps({"manifests": [5, {}, {"digest": "x"}, SUBJECT.descriptor(), None]}).encode()
        assert [entry.digest for entry in manifests.fallback_descriptors(content)] == [SUBJECT.digest]

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"manifests": {}}', b'{"manifests": 5}'])
    def test_of_what_is_no_index(self, content: bytes) -> None:
        assert manifests.fallback_descriptors(content) == []


class TestDefaultPlatform:
    def test_is_linux_on_amd64(self) -> None:
        arm, amd = small_image(1, architecture="arm64"), small_image(2)
        assert manifests.default_platform(index(arm, amd).manifest.content) == amd.digest
        assert manifests.default_platform(index(arm).manifest.content) is None

    @pytest.mark.parametrize("content", [b"", b"{}", b'{"manifests": 5}', b'{"manifests": [5, {"platform": 5}, {}]}'])
    def test_of_what_is_no_index(self, content: bytes) -> None:
        assert manifests.default_platform(content) is None


def test_half_a_surrogate_pair_is_no_text() -> None:
    content = b'{"schemaVersion":2,"mediaType":"application/x+json","artifactType":"\\ud800"}'
    with pytest.raises(ManifestInvalid):
        manifests.parse(content, None, "sha256")
