"""Listing referrers; Referrers tag schema; Enabling the referrers API."""

from __future__ import annotations

import pytest

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import (
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Image,
    Index,
    Json,
    artifact,
    digest_of,
    image,
    index,
    json_blob,
    random_layer,
    small_image,
)

SUBJECT = small_image(99)


def described(item: Image | Index, artifact_type: str | None) -> Json:
    """The descriptor that a list of referrers has to show."""
    more = {"artifactType": artifact_type, "annotations": item.manifest.json().get("annotations")}
    return item.manifest.descriptor(**{key: value for key, value in more.items() if value})


def by_digest(*entries: Json) -> list[Json]:
    return sorted(entries, key=lambda entry: str(entry["digest"]))


def test_of_every_kind(either: RegistryClient, repo: str) -> None:
    typed = artifact(artifact_type="application/vnd.example.sbom", subject=SUBJECT.manifest, annotations={"a": "b"})
    by_config = image(random_layer(5), subject=SUBJECT.manifest, annotations={"ä": "☃"})
    listing = index(subject=SUBJECT.manifest, annotations={"i": "1"})
    typed_listing = index(artifact_type="application/vnd.example.list", subject=SUBJECT.manifest)
    for item in (typed, by_config):
        either.push_image(repo, item)
    for list_item in (listing, typed_listing):
        either.push_index(repo, list_item)
    answer = either.request("GET", f"/v2/{repo}/referrers/{SUBJECT.digest}", want=200)
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert "OCI-Filters-Applied" not in answer.headers
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    assert by_digest(*document["manifests"]) == by_digest(
        described(typed, "application/vnd.example.sbom"),
        described(by_config, by_config.config.media_type),
        described(listing, None),
        described(typed_listing, "application/vnd.example.list"),
    )


def test_the_artifact_type_filter(either: RegistryClient, repo: str) -> None:
    items = {kind: artifact(artifact_type=f"application/{kind}", subject=SUBJECT.manifest) for kind in ("a+json", "b")}
    for item in items.values():
        either.push_image(repo, item)
    path = f"/v2/{repo}/referrers/{SUBJECT.digest}"
    for kind, item in items.items():
        answer = either.request("GET", path, params={"artifactType": f"application/{kind}"}, want=200)
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert [entry["digest"] for entry in answer.json()["manifests"]] == [item.digest]
    answer = either.request("GET", path, params={"artifactType": "application/none"}, want=200)
    assert (answer.json()["manifests"], answer.headers["OCI-Filters-Applied"]) == ([], "artifactType")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_of_what_nobody_refers_to(client: RegistryClient, repo: str, algorithm: str) -> None:
    digest = digest_of(b"unknown", algorithm)
    client.push_image(repo, small_image(), "latest")
    for name in (repo, f"{repo}-unknown"):
        for method in ("GET", "HEAD"):
            answer = client.request(method, f"/v2/{name}/referrers/{digest}", want=200)
            assert answer.headers["Content-Type"] == OCI_INDEX
        document = client.request("GET", f"/v2/{name}/referrers/{digest}", want=200).json()
        assert document["manifests"] == []


@pytest.mark.parametrize("digest", ["sha256:1", "latest", "md5:" + "0" * 32, "sha256:" + "g" * 64, "x" * 300])
def test_a_bad_digest(client: RegistryClient, repo: str, digest: str) -> None:
    assert error_code(client.request("GET", f"/v2/{repo}/referrers/{digest}", want=400)) == "DIGEST_INVALID"


def test_of_a_sha512_subject(client: RegistryClient, repo: str) -> None:
    subject = SUBJECT.manifest.descriptor() | {"digest": SUBJECT.manifest.sha512}
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": subject}
    item = json_blob(document, OCI_INDEX)
    assert client.push_manifest(repo, item.digest, item).headers["OCI-Subject"] == SUBJECT.manifest.sha512
    assert [entry["digest"] for entry in client.referrers(repo, SUBJECT.manifest.sha512)] == [item.digest]
    assert client.referrers(repo, SUBJECT.digest) == []


def test_pages_by_link(either: RegistryClient, repo: str) -> None:
    items = [
        artifact(artifact_type=f"application/{seed % 2}", subject=SUBJECT.manifest, annotations={"n": str(seed)})
        for seed in range(7)
    ]
    for item in items:
        either.push_image(repo, item)
    for artifact_type, wanted in ((None, items), ("application/1", items[1::2])):
        found: list[str] = []
        sizes: list[int] = []
        address: str | None = f"/v2/{repo}/referrers/{SUBJECT.digest}?n=2"
        if artifact_type:
            address = f"{address}&artifactType={artifact_type}"
        while address:
            answer = either.request("GET", address, want=200)
            assert ("OCI-Filters-Applied" in answer.headers) == (artifact_type is not None)
            entries = answer.json()["manifests"]
            sizes.append(len(entries))
            found += [entry["digest"] for entry in entries]
            address = answer.links.get("next", {}).get("url")
        assert sorted(found) == sorted(item.digest for item in wanted)
        assert max(sizes) <= 2
        assert 0 not in sizes


def test_a_deleted_referrer_is_gone(either: RegistryClient, repo: str) -> None:
    items = [artifact(subject=SUBJECT.manifest, annotations={"n": str(seed)}) for seed in range(2)]
    for item in items:
        either.push_image(repo, item)
    assert len(either.referrers(repo, SUBJECT.digest)) == 2
    either.delete_manifest(repo, items[0].digest)
    assert [entry["digest"] for entry in either.referrers(repo, SUBJECT.digest)] == [items[1].digest]


def test_the_subject_may_come_later_and_go_again(client: RegistryClient, repo: str) -> None:
    item = artifact(subject=SUBJECT.manifest)
    client.push_image(repo, item)
    client.push_image(repo, SUBJECT, "latest")
    client.delete_manifest(repo, SUBJECT.digest)
    assert [entry["digest"] for entry in client.referrers(repo, SUBJECT.digest)] == [item.digest]


class TestFallBack:
    """What a client of an older registry keeps under the referrers tag."""

    TAG = SUBJECT.digest.replace(":", "-")

    def push_list(self, client: RegistryClient, repo: str, *entries: Json) -> None:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        client.push_manifest(repo, self.TAG, json_blob(document, OCI_INDEX))

    def test_is_merged(self, client: RegistryClient, repo: str) -> None:
        indexed = artifact(subject=SUBJECT.manifest, annotations={"n": "1"})
        listed = artifact(annotations={"n": "2"})
        for item in (indexed, listed):
            client.push_image(repo, item)
        kind = "application/vnd.example.thing"
        self.push_list(client, repo, described(indexed, kind), described(listed, kind))
        assert by_digest(*client.referrers(repo, SUBJECT.digest)) == by_digest(
            described(indexed, kind), described(listed, kind)
        )
        assert len(client.referrers(repo, SUBJECT.digest, kind)) == 2
        assert client.referrers(repo, SUBJECT.digest, "application/other") == []

    def test_what_is_gone_is_left_out(self, client: RegistryClient, repo: str) -> None:
        listed = artifact()
        client.push_image(repo, listed)
        self.push_list(client, repo, described(listed, "application/a"))
        client.push_manifest(repo, self.TAG, client.manifest(repo, self.TAG))
        assert len(client.referrers(repo, SUBJECT.digest)) == 1
        client.push_manifest(repo, self.TAG, json_blob({"schemaVersion": 2, "manifests": []}, OCI_INDEX))
        assert client.referrers(repo, SUBJECT.digest) == []

    def test_what_is_no_list_does_no_harm(self, client: RegistryClient, repo: str) -> None:
        client.push_image(repo, small_image(), self.TAG)
        assert client.referrers(repo, SUBJECT.digest) == []
        client.push_manifest(repo, self.TAG, Blob(b'{"manifests": [1, {}, "x"]}', "application/vnd.example+json"))
        assert client.referrers(repo, SUBJECT.digest) == []
        assert client.manifest(repo, self.TAG).media_type != OCI_MANIFEST
