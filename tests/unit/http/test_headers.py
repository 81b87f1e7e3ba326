"""Conditions, proxies, links: decisions on headers and queries."""

import asyncio
from ipaddress import ip_network
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import BaseRequest
from multidict import CIMultiDict, MultiDict

from registry.domain.digest import Digest
from registry.errors import PaginationInvalid
from registry.http.conditions import matches, range_applies
from registry.http.links import Links, page_size
from registry.http.proxies import client_address, is_https

ETAG = '"sha256:abc"'
PROXIES = [ip_network("10.0.0.0/8"), ip_network("::1/128")]


def request(*headers: tuple[str, str], peer: str = "10.1.1.1") -> BaseRequest:
    transport = Mock(spec=asyncio.Transport)
    transport.get_extra_info = lambda name, default=None: (peer, 5) if name == "peername" else default
    return make_mocked_request("GET", "/", CIMultiDict(headers), transport=transport)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([ETAG], True),
        (["W/" + ETAG], True),
        (["*"], True),
        (['"other"'], False),
        (['"other", ' + ETAG], True),
        (['"other"', ETAG], True),
        (["sha256:abc"], False),
        ([""], False),
    ],
)
def test_if_none_match(values: list[str], expected: bool) -> None:
    assert matches(request(*(("If-None-Match", value) for value in values)), ETAG) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (ETAG, True),
        (f" {ETAG} ", True),
        ("W/" + ETAG, False),
        ('"other"', False),
        ("Tue, 15 Nov 1994 12:45:26 GMT", False),
        ("", False),
    ],
)
def test_if_range(value: str | None, expected: bool) -> None:
    headers = [("If-Range", value)] if value is not None else []
    assert range_applies(request(*headers), ETAG) is expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.1.1.1", ["192.0.2.7, 10.2.2.2"], "192.0.2.7"),
        ("10.1.1.1", ["192.0.2.7", "10.2.2.2"], "192.0.2.7"),
        ("10.1.1.1", ["192.0.2.9, 192.0.2.7"], "192.0.2.7"),
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], "10.1.1.1"),
        ("10.1.1.1", ["evil"], "10.1.1.1"),
        ("10.1.1.1", ["192.0.2.7, evil"], "10.1.1.1"),
        ("10.1.1.1", ["2001:db8::7"], "2001:db8::7"),
        ("::1", ["192.0.2.7"], "192.0.2.7"),
        ("198.51.100.1", ["192.0.2.7"], "198.51.100.1"),
    ],
)
def test_a_trusted_proxy_speaks_for_its_client(peer: str, forwarded: list[str], client: str) -> None:
    asked = request(*(("X-Forwarded-For", line) for line in forwarded), peer=peer)
    assert client_address(asked, PROXIES) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address(request(("X-Forwarded-For", "192.0.2.7"), peer="10.1.1.1"), []) == "10.1.1.1"


@pytest.mark.parametrize(("base", "expected"), [(None, ""), ("https://r.example/", "https://r.example")])
def test_links(base: str | None, expected: str) -> None:
    links, digest = Links(base), Digest.of(b"x")
    assert links.blob("a/b", digest) == f"{expected}/v2/a/b/blobs/{digest}"
    assert links.manifest("a/b", digest) == f"{expected}/v2/a/b/manifests/{digest}"
    assert links.upload("a/b", "id") == f"{expected}/v2/a/b/blobs/uploads/id"
    assert links.next_page("/v2/_catalog", {"n": "5", "last": "a/b&c"}) == (
        f'<{expected}/v2/_catalog?n=5&last=a%2Fb%26c>; rel="next"'
    )


def test_page_size() -> None:
    assert page_size(MultiDict()) is None
    assert page_size(MultiDict(n="0")) == 0
    assert page_size(MultiDict(n="17")) == 17
    assert page_size(MultiDict(n="9" * 5000)) is not None
    for bad in ("", "-1", "+1", "1.5", "a", "٣", " 1", "0x5"):
        with pytest.raises(PaginationInvalid):
            page_size(MultiDict(n=bad))


@pytest.mark.parametrize(
    ("said", "peer", "https"),
    [
        ("https", "10.1.1.1", True),
        ("HTTPS", "10.1.1.1", True),
        ("http, https", "10.1.1.1", True),
        ("https, http", "10.1.1.1", False),
        ("http", "10.1.1.1", False),
        ("https", "192.0.2.1", False),
    ],
)
def test_https_before_a_trusted_proxy(said: str, peer: str, https: bool) -> None:
    forwarded = request(("X-Forwarded-Proto", said), peer=peer)
    assert is_https(forwarded, PROXIES) == https
    assert not is_https(forwarded, [])
    assert not is_https(request(peer=peer), PROXIES)
