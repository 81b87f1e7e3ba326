"""Names of repositories and tags, by the grammar of the OCI distribution specification ("Pulling manifests")."""

import pytest

from registry.domain.digest import Digest
from registry.domain.names import parse_reference, parse_repository, parse_tag, referrers_tag
from registry.errors import DigestInvalid, NameInvalid, TagInvalid


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "0",
        "library/busybox",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a---b",
        "a/b/c/d/e/f/g/h",
        "manifests/blobs/tags/referrers",
        "a" * 255,
        "/".join("a" * 128),
    ],
)
def test_repositories(name: str) -> None:
    assert parse_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "aB",
        "/a",
        "a/",
        "a//b",
        "a.",
        ".a",
        "a..b",
        "a___b",
        "a_-b",
        "a.-b",
        "-a",
        "a-",
        "a/-b",
        "_catalog",
        "a b",
        "ä",
        "a\n",
        "a/../b",
        "..",
        ".",
        "a:b",
        "a@b",
        "a%2fb",
        "a\x00",
        "a" * 256,
    ],
)
def test_what_is_no_repository(name: str) -> None:
    with pytest.raises(NameInvalid):
        parse_repository(name)


@pytest.mark.parametrize("tag", ["a", "_", "0", "latest", "V1.2.3-rc_1", "_.-", "a" * 128])
def test_tags(tag: str) -> None:
    assert parse_tag(tag) == tag
    assert parse_reference(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a b", "a/b", "a+b", "ä", "a\n", "a" * 129, "a@b", "%61", "a\x00"])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(TagInvalid):
        parse_tag(tag)


def test_a_reference_with_a_colon_is_a_digest() -> None:
    digest = Digest.of(b"x")
    assert parse_reference(str(digest)) == digest
    with pytest.raises(DigestInvalid):
        parse_reference("sha256:latest")


def test_the_referrers_tag_is_truncated() -> None:
    """The table of "Referrers Tag Schema"."""
    assert referrers_tag(Digest("sha256", "a" * 64)) == "sha256-" + "a" * 64
    assert referrers_tag(Digest("sha512", "a" * 128)) == "sha512-" + "a" * 64
    assert parse_tag(referrers_tag(Digest.of(b"x", "sha512")))
