"""What a browser makes of content that somebody pushed: whoever pushes chooses its type, and may mean harm."""

from __future__ import annotations

import pytest

from tests.harness.client import RegistryClient
from tests.harness.content import digest_of
from tests.harness.server import ShoalServer

EVIL = b"{\"x\":\"<script>fetch('/auth/session/password',{method:'POST'})</script>\"}"


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript"])
def test_no_page_of_ours_is_made_of_it(shared_shoal: ShoalServer, media_type: str) -> None:
    with RegistryClient(shared_shoal.url) as client:
        path = "/v2/browsers/evil/manifests/page"
        client.request("PUT", path, data=EVIL, headers={"Content-Type": media_type}, want=201)
        blob = client.push_blob("browsers/evil", EVIL)
        for shown in (path, f"/v2/browsers/evil/manifests/{digest_of(EVIL)}", f"/v2/browsers/evil/blobs/{blob}"):
            headers = client.request("GET", shown, want=200).headers
            assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert client.request("GET", "/v2/browsers/none/tags/list", want=404).headers["Content-Security-Policy"]
