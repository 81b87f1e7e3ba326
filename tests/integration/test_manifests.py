"""Pulling manifests; Pushing manifests, by tag, by digest, with tags, with a subject."""

from __future__ import annotations

import json
from urllib.parse import urljoin

import pytest

from tests.harness.client import MANIFESTS, RegistryClient, error_code
from tests.harness.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Image,
    Json,
    artifact,
    digest_of,
    image,
    index,
    json_blob,
    random_layer,
    small_image,
)

FOREIGN_TYPES = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
)
LIMIT = 4 * 1024 * 1024


def put(
    client: RegistryClient, repo: str, reference: str, manifest: Blob, want: int, query: str = ""
) -> tuple[str, Json]:
    """The code and the detail of a refused push ("" and nothing where it was taken)."""
    answer = client.request(
        "PUT",
        f"/v2/{repo}/manifests/{reference}{query}",
        data=manifest.content,
        headers={"Content-Type": manifest.media_type},
        want=want,
    )
    return (error_code(answer), answer.json()["errors"][0].get("detail", {})) if want >= 400 else ("", {})


def push_blobs(client: RegistryClient, repo: str, item: Image) -> None:
    for blob in item.blobs:
        client.push_blob(repo, blob.content)


class TestTypes:
    @pytest.mark.parametrize("docker", [False, True])
    def test_images(self, either: RegistryClient, repo: str, docker: bool) -> None:
        item = small_image(1, docker=docker)
        push_blobs(either, repo, item)
        answer = either.push_manifest(repo, "latest", item.manifest)
        assert answer.headers["Docker-Content-Digest"] == item.digest
        assert either.request("GET", urljoin(either.url, answer.headers["Location"]), want=200)
        for reference in ("latest", item.digest):
            either.check_image(repo, item, reference)

    @pytest.mark.parametrize("docker", [False, True])
    def test_indexes(self, either: RegistryClient, repo: str, docker: bool) -> None:
        item = index(small_image(1, docker=docker), small_image(2, docker=docker, architecture="arm64"), docker=docker)
        either.push_index(repo, item, "latest")
        found = either.manifest(repo, "latest")
        assert (found.content, found.media_type) == (item.manifest.content, DOCKER_LIST if docker else OCI_INDEX)
        for child in item.images:
            either.check_image(repo, child)

    def test_a_nested_index(self, client: RegistryClient, repo: str) -> None:
        inner = index(small_image(1))
        client.push_index(repo, inner)
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner.manifest.descriptor()]}
        outer = json_blob(document, OCI_INDEX)
        client.push_manifest(repo, "outer", outer)
        assert client.manifest(repo, "outer").content == outer.content

    def test_an_empty_index(self, client: RegistryClient, repo: str) -> None:
        empty = json_blob({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, OCI_INDEX)
        client.push_manifest(repo, "empty", empty)
        assert client.resolve(repo, "empty") == empty.digest

    def test_zero_layers(self, client: RegistryClient, repo: str) -> None:
        item = image()
        client.push_image(repo, item, "empty")
        client.check_image(repo, item, "empty")

    def test_an_artifact_with_the_empty_config(self, client: RegistryClient, repo: str) -> None:
        item = artifact()
        client.push_image(repo, item, "thing")
        client.check_image(repo, item, "thing")

    @pytest.mark.parametrize(
        "media_type", ["application/vnd.example.thing+json", "application/vnd.example.Thing.V1+JSON", "a/b"]
    )
    def test_an_unknown_type(self, client: RegistryClient, repo: str, media_type: str) -> None:
        """Served with the very type that it was pushed with."""
        item = json_blob({"mediaType": media_type, "anything": ["goes"]}, media_type)
        client.push_manifest(repo, "thing", item)
        found = client.manifest(repo, "thing")
        assert (found.content, found.media_type) == (item.content, media_type)

    def test_an_unknown_type_may_name_what_is_missing(self, client: RegistryClient, repo: str) -> None:
        item = json_blob({"layers": [Blob(b"missing").descriptor()]}, "application/vnd.example.thing+json")
        client.push_manifest(repo, "thing", item)

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/json",
        ],
    )
    def test_schema_1_is_refused(self, client: RegistryClient, repo: str, media_type: str) -> None:
        item = json_blob({"schemaVersion": 1, "name": repo, "tag": "latest", "fsLayers": []}, media_type)
        assert put(client, repo, "latest", item, 400)[0] == "MANIFEST_INVALID"

    def test_parameters_of_the_content_type_are_ignored(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        client.push_manifest(repo, "latest", Blob(item.manifest.content, f"{OCI_MANIFEST}; charset=utf-8"))
        assert client.manifest(repo, "latest").media_type == OCI_MANIFEST

    def test_the_type_comes_from_the_manifest_where_the_request_has_none(
        self, client: RegistryClient, repo: str
    ) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        client.request("PUT", f"/v2/{repo}/manifests/latest", data=item.manifest.content, want=201)
        assert client.manifest(repo, "latest").media_type == OCI_MANIFEST

    def test_another_type_than_the_manifest_states(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        assert put(client, repo, "a", Blob(item.manifest.content, DOCKER_MANIFEST), 400)[0] == "MANIFEST_INVALID"


class TestBytes:
    @pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n\t  "])
    def test_are_kept_as_they_are(self, either: RegistryClient, repo: str, ending: bytes) -> None:
        document = {"annotations": {"ü": "\u2603", "b": "1", "a": "2"}, "schemaVersion": 2, "manifests": []}
        content = json.dumps(document, indent=5, ensure_ascii=False).encode() + ending
        either.push_manifest(repo, "odd", Blob(content, OCI_INDEX))
        for reference in ("odd", digest_of(content)):
            assert either.manifest(repo, reference).content == content

    def test_of_4_mib_are_taken_and_more_are_not(self, client: RegistryClient, repo: str) -> None:
        def of_size(size: int) -> Blob:
            empty = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"fill": ""}}
            fill = size - json_blob(empty, OCI_INDEX).size
            return json_blob(empty | {"annotations": {"fill": "x" * fill}}, OCI_INDEX)

        largest = of_size(LIMIT)
        assert largest.size == LIMIT
        client.push_manifest(repo, "largest", largest)
        assert client.manifest(repo, "largest").content == largest.content
        assert put(client, repo, "larger", of_size(LIMIT + 1), 413)[0] == "MANIFEST_INVALID"
        path, kind = f"/v2/{repo}/manifests/larger", {"Content-Type": OCI_INDEX}
        client.request("PUT", path, data=iter([of_size(LIMIT + 1).content]), headers=kind, want=413)
        assert client.resolve(repo, "larger") is None

    def test_streamed_without_a_length(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        content = item.manifest.content
        kind = {"Content-Type": OCI_MANIFEST}
        client.request("PUT", f"/v2/{repo}/manifests/a", data=iter([content[:5], content[5:]]), headers=kind, want=201)
        client.check_image(repo, item, "a")


class TestReferences:
    @pytest.mark.parametrize("missing", [0, 1])
    def test_a_missing_blob_is_named(self, either: RegistryClient, repo: str, missing: int) -> None:
        item = small_image(5)
        either.push_blob(repo, item.blobs[1 - missing].content)
        either.push_blob(f"{repo}-other", item.blobs[missing].content)
        code, detail = put(either, repo, "latest", item.manifest, 404)
        assert (code, detail) == ("MANIFEST_BLOB_UNKNOWN", {"digest": item.blobs[missing].digest})
        assert either.resolve(repo, "latest") is None
        either.push_blob(repo, item.blobs[missing].content)
        assert put(either, repo, "latest", item.manifest, 201)

    def test_a_missing_child_is_named(self, client: RegistryClient, repo: str) -> None:
        item = index(small_image(1), small_image(2))
        client.push_image(repo, item.images[0])
        code, detail = put(client, repo, "latest", item.manifest, 404)
        assert (code, detail) == ("MANIFEST_BLOB_UNKNOWN", {"digest": item.images[1].digest})

    @pytest.mark.parametrize("media_type", FOREIGN_TYPES)
    def test_a_layer_that_is_not_distributable_may_be_missing(
        self, client: RegistryClient, repo: str, media_type: str
    ) -> None:
        item = image(Blob(b"never pushed", media_type))
        client.push_blob(repo, item.config.content)
        client.push_manifest(repo, "latest", item.manifest)

    def test_a_layer_with_urls_may_be_missing(self, client: RegistryClient, repo: str) -> None:
        settings = Blob(b"{}", "application/vnd.oci.image.config.v1+json")
        layer = Blob(b"never pushed").descriptor(urls=["https://example.org/layer"])
        document = {"schemaVersion": 2, "config": settings.descriptor(), "layers": [layer]}
        client.push_blob(repo, settings.content)
        client.push_manifest(repo, "latest", json_blob(document, OCI_MANIFEST))

    def test_of_sha512(self, either: RegistryClient, repo: str) -> None:
        settings, layer = Blob(b"{}", "application/x"), random_layer(100, 9)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": settings.descriptor() | {"digest": settings.sha512},
            "layers": [layer.descriptor() | {"digest": layer.sha512}],
        }
        item = json_blob(document, OCI_MANIFEST)
        either.push_blob(repo, settings.content, "sha512")
        code, detail = put(either, repo, "latest", item, 404)
        assert (code, detail) == ("MANIFEST_BLOB_UNKNOWN", {"digest": layer.sha512})
        either.push_blob(repo, layer.content, "sha512")
        answer = either.push_manifest(repo, item.sha512, item)
        assert answer.headers["Docker-Content-Digest"] == item.sha512
        assert either.manifest(repo, item.sha512).content == item.content
        assert either.resolve(repo, item.sha512) == item.sha512


class TestByDigest:
    def test_a_digest_that_the_bytes_do_not_have(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        for wrong in (digest_of(b"other"), digest_of(b"other", "sha512")):
            assert put(client, repo, wrong, item.manifest, 400)[0] == "DIGEST_INVALID"
            assert client.resolve(repo, wrong) is None

    def test_with_tags(self, either: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(either, repo, item)
        tags = [f"v1.{number}" for number in range(12)]
        query = "?" + "&".join(f"tag={tag}" for tag in tags)
        answer = either.push_manifest(repo, item.digest + query, item.manifest)
        assert [tag.strip() for tag in answer.headers["OCI-Tag"].split(",")] == tags
        assert either.tags(repo) == sorted(tags)
        for tag in tags:
            assert either.resolve(repo, tag) == item.digest

    def test_with_a_bad_tag_nothing_appears(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        assert put(client, repo, item.digest, item.manifest, 400, "?tag=good&tag=.bad")[0] == "TAG_INVALID"
        assert client.resolve(repo, item.digest) is None

    def test_a_tag_with_more_tags(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        client.push_manifest(repo, "one?tag=two&tag=two", item.manifest)
        assert client.tags(repo) == ["one", "two"]

    def test_very_many_tags_are_refused_as_a_whole(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        query = "?" + "&".join(f"tag=t{number}" for number in range(400))
        answer = client.request(
            "PUT",
            f"/v2/{repo}/manifests/{item.digest}{query}",
            data=item.manifest.content,
            headers={"Content-Type": item.manifest.media_type},
        )
        assert answer.status_code in (400, 414)
        assert client.resolve(repo, item.digest) is None


class TestPull:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_headers(self, either: RegistryClient, repo: str, method: str) -> None:
        item = small_image()
        either.push_image(repo, item, "latest")
        for reference in ("latest", item.digest, item.digest.replace(":", "%3A")):
            answer = either.request(method, f"/v2/{repo}/manifests/{reference}", want=200)
            assert answer.headers["Docker-Content-Digest"] == item.digest
            assert answer.headers["Content-Length"] == str(item.manifest.size)
            assert answer.headers["Content-Type"] == item.manifest.media_type
            assert answer.content == (item.manifest.content if method == "GET" else b"")

    @pytest.mark.parametrize("reference", ["absent", digest_of(b"absent"), digest_of(b"absent", "sha512")])
    def test_what_is_not_there(self, client: RegistryClient, repo: str, reference: str) -> None:
        client.push_image(repo, small_image(), "latest")
        for name in (repo, f"{repo}-unknown"):
            answer = client.request("GET", f"/v2/{name}/manifests/{reference}", want=404)
            assert error_code(answer) in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")
            client.request("HEAD", f"/v2/{name}/manifests/{reference}", want=404)

    def test_a_tag_moves_at_once(self, either: RegistryClient, repo: str) -> None:
        for seed in range(6):
            item = small_image(seed)
            either.push_image(repo, item, "latest")
            for _ in range(4):
                assert either.resolve(repo, "latest") == item.digest

    def test_if_none_match(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        client.push_image(repo, item, "latest")
        path = f"/v2/{repo}/manifests/latest"
        etag = client.request("GET", path, want=200).headers["ETag"]
        for method in ("GET", "HEAD"):
            assert client.request(method, path, headers={"If-None-Match": etag}, want=304).content == b""
        client.push_image(repo, small_image(2), "latest")
        client.request("GET", path, headers={"If-None-Match": etag}, want=200)


class TestNegotiation:
    @pytest.mark.parametrize(
        ("accept", "served"),
        [
            (None, "index"),
            ("*/*", "index"),
            (MANIFESTS, "index"),
            (OCI_INDEX, "index"),
            ("application/json", "index"),
            (f"{DOCKER_MANIFEST}", "image"),
            (f"{OCI_MANIFEST}, {DOCKER_MANIFEST};q=0.5", "image"),
            (
                f"{DOCKER_MANIFEST}, application/vnd.docker.distribution.manifest.v1+prettyjws, application/json",
                "image",
            ),
        ],
    )
    def test_of_a_tag_that_names_an_index(
        self, client: RegistryClient, repo: str, accept: str | None, served: str
    ) -> None:
        item = index(small_image(1, architecture="arm64"), small_image(2))
        client.push_index(repo, item, "latest")
        client.session.headers.pop("Accept", None)
        headers = {"Accept": accept} if accept else {"Accept": ""}
        for method in ("GET", "HEAD"):
            answer = client.request(method, f"/v2/{repo}/manifests/latest", headers=headers, want=200)
            wanted = item.manifest if served == "index" else item.images[1].manifest
            assert answer.headers["Docker-Content-Digest"] == wanted.digest
            assert answer.headers["Content-Type"] == wanted.media_type
            assert answer.headers["Content-Length"] == str(wanted.size)

    def test_by_digest_the_very_manifest_is_served(self, client: RegistryClient, repo: str) -> None:
        item = index(small_image(1))
        client.push_index(repo, item)
        answer = client.request(
            "GET", f"/v2/{repo}/manifests/{item.digest}", headers={"Accept": DOCKER_MANIFEST}, want=200
        )
        assert answer.content == item.manifest.content


class TestSubject:
    def test_may_be_missing_and_is_acknowledged(self, either: RegistryClient, repo: str) -> None:
        subject = small_image(7)
        item = artifact(subject=subject.manifest)
        push_blobs(either, repo, item)
        answer = either.push_manifest(repo, "sbom", item.manifest)
        assert answer.headers["OCI-Subject"] == subject.digest

    def test_of_an_index(self, client: RegistryClient, repo: str) -> None:
        subject = small_image(7)
        item = index(subject=subject.manifest)
        assert client.push_manifest(repo, item.digest, item.manifest).headers["OCI-Subject"] == subject.digest

    def test_without_one_there_is_no_such_header(self, client: RegistryClient, repo: str) -> None:
        item = small_image()
        push_blobs(client, repo, item)
        assert "OCI-Subject" not in client.push_manifest(repo, "latest", item.manifest).headers


class TestRefusals:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"{}",
            b'{"schemaVersion": 2}',
            b'{"schemaVersion": 2, "config": {}, "layers": []}',
            b'{"schemaVersion": 2, "config": 5, "layers": {}}',
            b"[" * 50_000,
            b'{"schemaVersion": 2, "config": {"mediaType": "a/b", "size": 1e400, "digest": "x"}, "layers": []}',
        ],
        ids=range(11),
    )
    @pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])
    def test_what_is_no_manifest(self, client: RegistryClient, repo: str, content: bytes, media_type: str) -> None:
        assert put(client, repo, "latest", Blob(content, media_type), 400)[0] == "MANIFEST_INVALID"

    @pytest.mark.parametrize("media_type", ["text", "a b/c", "a/b/c", "/", "a/", "/b", "\u00e4/b"])
    def test_what_is_no_media_type(self, client: RegistryClient, repo: str, media_type: str) -> None:
        answer = client.request(
            "PUT",
            f"/v2/{repo}/manifests/latest",
            data=b"{}",
            headers={"Content-Type": media_type},
        )
        assert (answer.status_code, error_code(answer)) == (400, "MANIFEST_INVALID")

    @pytest.mark.parametrize("text", ["\\ud800", "\\udfff\\ud800", "a\\u0000b"])
    def test_odd_text_in_a_manifest_is_no_failure_of_ours(self, client: RegistryClient, repo: str, text: str) -> None:
        for field in (
            f'"artifactType": "{text}"',
            f'"layers": [{{"digest": "{text}"}}]',
            f'"annotations": {{"{text}": ""}}',
        ):
            content = f'{{"subject": {json.dumps(small_image().manifest.descriptor())}, {field}}}'.encode()
            for media_type in ("application/vnd.example+json", OCI_INDEX, OCI_MANIFEST):
                answer = client.request(
                    "PUT", f"/v2/{repo}/manifests/a", data=content, headers={"Content-Type": media_type}
                )
                assert answer.status_code in (201, 400), answer.text
        client.referrers(repo, small_image().digest)

    def test_a_content_encoding(self, client: RegistryClient, repo: str) -> None:
        headers = {"Content-Type": OCI_MANIFEST, "Content-Encoding": "gzip"}
        answer = client.request("PUT", f"/v2/{repo}/manifests/latest", data=b"{}", headers=headers)
        assert answer.status_code in (400, 415)
        assert answer.json()["errors"]
