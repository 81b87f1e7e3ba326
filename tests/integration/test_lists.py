"""Listing tags; the catalog."""

from __future__ import annotations

import pytest

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import small_image
from tests.harness.server import ShoalServer

TAGS = sorted(["0", "1.0", "10", "2", "A", "Z", "_", "a", "a-b", "a.b", "a_b", "b", "latest", "v1", "z" * 128])


@pytest.fixture
def path(either: RegistryClient, repo: str) -> str:
    item = small_image()
    either.push_image(repo, item)
    query = "?" + "&".join(f"tag={tag}" for tag in reversed(TAGS))
    either.push_manifest(repo, item.digest + query, item.manifest)
    return f"/v2/{repo}/tags/list"


def test_all_tags(either: RegistryClient, path: str, repo: str) -> None:
    answer = either.request("GET", path, want=200)
    assert answer.json() == {"name": repo, "tags": TAGS}
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    assert "Link" not in answer.headers


@pytest.mark.parametrize("n", [1, 2, 7, len(TAGS) - 1, len(TAGS), len(TAGS) + 1, 10**6, 10**30])
def test_n(either: RegistryClient, path: str, n: int) -> None:
    answer = either.request("GET", path, params={"n": str(n)}, want=200)
    assert answer.json()["tags"] == TAGS[:n]
    assert ("next" in answer.links) == (n < len(TAGS))


def test_n_of_zero(either: RegistryClient, path: str) -> None:
    for query in ("?n=0", "?n=0&last=a", "?n=00"):
        answer = either.request("GET", path + query, want=200)
        assert answer.json()["tags"] == []
        assert "Link" not in answer.headers


@pytest.mark.parametrize("last", ["0", "a", "a-a", "A0", "latest", "zzz", "z" * 128, "z" * 127, "~", "", "%00", "ä"])
def test_last(either: RegistryClient, path: str, last: str) -> None:
    plain = last.replace("%00", "\0")
    after = [tag for tag in TAGS if tag.encode() > plain.encode()]
    assert either.request("GET", f"{path}?last={last}", want=200).json()["tags"] == after
    for n in (1, 3, 100):
        answer = either.request("GET", f"{path}?n={n}&last={last}", want=200)
        assert answer.json()["tags"] == after[:n]
        assert ("next" in answer.links) == (n < len(after))
        assert either.request("GET", f"{path}?last={last}&n={n}", want=200).json() == answer.json()


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_the_link_leads_to_the_end(either: RegistryClient, path: str, n: int) -> None:
    assert followed(either, path, "tags", n) == TAGS


def followed(client: RegistryClient, path: str, key: str, n: int) -> list[str]:
    """All entries of a list, in pages of `n`, by the links from each to the next."""
    found: list[str] = []
    address: str | None = f"{path}?n={n}"
    while address:
        answer = client.request("GET", address, want=200)
        page = answer.json()[key]
        assert 0 < len(page) <= n
        found += page
        address = answer.links.get("next", {}).get("url")
    return found


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "", "+1", "0x10", "%D9%A3"])
def test_what_is_no_number(either: RegistryClient, path: str, n: str) -> None:
    assert error_code(either.request("GET", f"{path}?n={n}", want=400)) == "PAGINATION_NUMBER_INVALID"


def test_of_an_unknown_repository(client: RegistryClient, repo: str) -> None:
    answer = client.request("GET", f"/v2/{repo}-unknown/tags/list", want=404)
    assert error_code(answer) == "NAME_UNKNOWN"
    client.request("HEAD", f"/v2/{repo}-unknown/tags/list", want=404)


def test_of_a_repository_without_tags(client: RegistryClient, repo: str) -> None:
    client.push_image(repo, small_image())
    assert client.request("GET", f"/v2/{repo}/tags/list", want=200).json() == {"name": repo, "tags": []}


def test_a_deleted_tag_is_gone(either: RegistryClient, path: str, repo: str) -> None:
    either.delete_manifest(repo, "latest")
    assert either.tags(repo) == [tag for tag in TAGS if tag != "latest"]
    either.delete_manifest(repo, small_image().digest)
    assert either.request("GET", path, want=200).json()["tags"] == []


def test_the_catalog(shoal: ShoalServer) -> None:
    names = ["a", "a-b", "a/b", "a.b", "ab", "b/c/d", "z"]
    with RegistryClient(shoal.url) as client:
        assert client.request("GET", "/v2/_catalog", want=200).json() == {"repositories": []}
        for name in reversed(names):
            client.push_image(name, small_image(), "latest")
        client.push_blob("blobs-only", b"x")
        assert client.request("GET", "/v2/_catalog", want=200).json() == {"repositories": sorted(names)}
        for n in range(1, 9):
            assert followed(client, "/v2/_catalog", "repositories", n) == sorted(names)
        assert client.request("GET", "/v2/_catalog?n=0", want=200).json() == {"repositories": []}
        assert client.request("GET", "/v2/_catalog?last=a.b", want=200).json()["repositories"] == sorted(names)[3:]
        assert client.request("GET", "/v2/_catalog?n=1&last=a/", want=200).json()["repositories"] == ["a/b"]
        assert client.request("GET", "/v2/_catalog?last=zz", want=200).json() == {"repositories": []}
        assert error_code(client.request("GET", "/v2/_catalog?n=x", want=400)) == "PAGINATION_NUMBER_INVALID"
        client.request("HEAD", "/v2/_catalog", want=200)
        client.delete_manifest("z", small_image().digest)
        assert client.catalog() == sorted(names)[:-1]
