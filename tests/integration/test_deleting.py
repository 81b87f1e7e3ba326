"""Content management: deleting tags, manifests and blobs."""

from __future__ import annotations

import pytest

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import digest_of, image, index, random_layer, small_image


def test_a_tag(either: RegistryClient, repo: str) -> None:
    item = small_image()
    either.push_image(repo, item, "one")
    either.push_manifest(repo, "two", item.manifest)
    either.request("DELETE", f"/v2/{repo}/manifests/one", want=202)
    assert error_code(either.request("GET", f"/v2/{repo}/manifests/one", want=404)) == "MANIFEST_UNKNOWN"
    either.check_image(repo, item, "two")
    either.check_image(repo, item)
    assert error_code(either.request("DELETE", f"/v2/{repo}/manifests/one", want=404)) == "MANIFEST_UNKNOWN"


def test_a_manifest_with_all_its_tags(either: RegistryClient, repo: str) -> None:
    item, other = small_image(1), small_image(2)
    either.push_image(repo, item, "one")
    either.push_manifest(repo, "two", item.manifest)
    either.push_image(repo, other, "three")
    either.request("DELETE", f"/v2/{repo}/manifests/{item.digest}", want=202)
    for reference in ("one", "two", item.digest):
        for method in ("GET", "HEAD", "DELETE"):
            either.request(method, f"/v2/{repo}/manifests/{reference}", want=404)
    either.check_image(repo, other, "three")
    either.push_image(repo, item, "one")
    either.check_image(repo, item, "one")


def test_a_manifest_of_an_unknown_repository(client: RegistryClient, repo: str) -> None:
    for reference in ("latest", digest_of(b"x")):
        client.request("DELETE", f"/v2/{repo}-unknown/manifests/{reference}", want=404)


def test_a_manifest_of_one_repository_stays_in_the_other(client: RegistryClient, repo: str) -> None:
    item = small_image()
    client.push_image(repo, item, "latest")
    client.push_image(f"{repo}-other", item, "latest")
    client.delete_manifest(repo, item.digest)
    client.check_image(f"{repo}-other", item, "latest")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob(either: RegistryClient, repo: str, algorithm: str) -> None:
    digest = either.push_blob(repo, b"to be deleted", algorithm)
    other = either.push_blob(f"{repo}-other", b"to be deleted", algorithm)
    either.request("DELETE", f"/v2/{repo}/blobs/{digest}", want=202)
    for method in ("GET", "HEAD", "DELETE"):
        either.request(method, f"/v2/{repo}/blobs/{digest}", want=404)
    assert either.blob(f"{repo}-other", other) == b"to be deleted"
    either.push_blob(repo, b"to be deleted", algorithm)
    assert either.blob(repo, digest) == b"to be deleted"


def test_a_blob_that_is_not_there(client: RegistryClient, repo: str) -> None:
    client.push_blob(repo, b"another")
    for name in (repo, f"{repo}-unknown"):
        answer = client.request("DELETE", f"/v2/{name}/blobs/{digest_of(b'unknown')}", want=404)
        assert error_code(answer) == "BLOB_UNKNOWN"


def test_a_blob_that_a_manifest_needs_is_kept(either: RegistryClient, repo: str) -> None:
    shared, own = random_layer(10, 1), random_layer(10, 2)
    one, two = image(shared, own), image(shared)
    either.push_image(repo, one)
    either.push_image(repo, two)
    for blob in one.blobs:
        answer = either.request("DELETE", f"/v2/{repo}/blobs/{blob.digest}", want=405)
        assert error_code(answer) == "DENIED"
        assert answer.json()["errors"][0]["detail"] == {"digest": blob.digest}
    either.delete_manifest(repo, one.digest)
    either.request("DELETE", f"/v2/{repo}/blobs/{shared.digest}", want=405)
    either.request("DELETE", f"/v2/{repo}/blobs/{own.digest}", want=202)
    either.check_image(repo, two)


def test_a_child_of_an_index_takes_nothing_else_along(client: RegistryClient, repo: str) -> None:
    item = index(small_image(1), small_image(2))
    client.push_index(repo, item, "latest")
    client.delete_manifest(repo, item.digest)
    for child in item.images:
        client.check_image(repo, child)


def test_a_blob_after_its_delete_and_mount(client: RegistryClient, repo: str) -> None:
    digest = client.push_blob(repo, b"moved around")
    assert client.mount(f"{repo}-other", digest, repo)
    client.request("DELETE", f"/v2/{repo}/blobs/{digest}", want=202)
    assert client.mount(repo, digest, f"{repo}-other")
    client.request("DELETE", f"/v2/{repo}-other/blobs/{digest}", want=202)
    assert client.blob(repo, digest) == b"moved around"
    assert not client.mount(f"{repo}-third", digest, f"{repo}-other")
