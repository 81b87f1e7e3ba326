"""public_url and trusted proxies: the addresses in answers, the client in the log."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, small_image
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer

PUBLIC = "https://registry.example.org:8443"


def test_without_public_url_addresses_are_relative(client: RegistryClient, repo: str) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "Host": "evil.example"}
    answer = client.request("POST", f"/v2/{repo}/blobs/uploads/", headers=headers, want=202)
    assert answer.headers["Location"].startswith(f"/v2/{repo}/blobs/uploads/")


def test_with_public_url_addresses_are_below_it(start_shoal: StartShoal) -> None:
    server = start_shoal(settings={"server": {"public_url": PUBLIC, "allow_anonymous": True}})
    with RegistryClient(server.url) as client:
        item = small_image()
        started = client.request("POST", "/v2/repo/blobs/uploads/", want=202).headers["Location"]
        assert started.startswith(f"{PUBLIC}/v2/repo/blobs/uploads/")
        path = urlsplit(started).path
        patched = client.request("PATCH", path, data=item.config.content, want=202).headers["Location"]
        assert patched == started
        finished = client.request("PUT", path, params={"digest": item.config.digest}, want=201)
        assert finished.headers["Location"] == f"{PUBLIC}/v2/repo/blobs/{item.config.digest}"
        for blob in item.layers:
            at_once = client.request(
                "POST", "/v2/repo/blobs/uploads/", params={"digest": blob.digest}, data=blob.content
            )
            assert at_once.headers["Location"] == f"{PUBLIC}/v2/repo/blobs/{blob.digest}"
        pushed = client.push_manifest("repo", item.digest + "?tag=a&tag=b", item.manifest)
        assert pushed.headers["Location"] == f"{PUBLIC}/v2/repo/manifests/{item.digest}"
        page = client.request("GET", "/v2/repo/tags/list?n=1", want=200)
        assert page.links["next"]["url"].startswith(f"{PUBLIC}/v2/repo/tags/list?")


@pytest.mark.parametrize(
    ("trusted", "forwarded", "logged"),
    [
        (["127.0.0.0/8"], "192.0.2.7", "192.0.2.7"),
        (["127.0.0.0/8", "10.0.0.0/8"], "198.51.100.9, 192.0.2.7, 10.1.1.1", "192.0.2.7"),
        (["127.0.0.0/8"], "not an address", "127.0.0.1"),
        (["10.0.0.0/8"], "192.0.2.7", "127.0.0.1"),
        ([], "192.0.2.7", "127.0.0.1"),
    ],
)
def test_the_client_in_the_log(start_shoal: StartShoal, trusted: list[str], forwarded: str, logged: str) -> None:
    server = start_shoal(
        settings={"server": {"trusted_proxies": trusted, "allow_anonymous": True}, "log": {"format": "json"}}
    )
    marker = digest_of(forwarded.encode())
    with RegistryClient(server.url) as client:
        client.request("GET", f"/v2/marked/blobs/{marker}", headers={"X-Forwarded-For": forwarded}, want=404)
    wait_until(lambda: bool(lines_with(server, marker)), "the request is in the log", 10)
    (line,) = lines_with(server, marker)
    assert line["client"] == logged


def lines_with(server: ShoalServer, marker: str) -> list[dict[str, object]]:
    return [entry for entry in server.logged() if marker in str(entry.get("path"))]
