"""A server that serves only signed images: what its clients see, and how it follows its settings."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness import signing
from tests.harness.client import RegistryClient, error_code
from tests.harness.content import index, small_image
from tests.harness.server import ShoalServer
from tests.harness.signing import new_key, public_pem, signature_tag, simply_signed

KEY = new_key()
IMAGE = small_image(1)


def policy(file: Path, name: str = "releases") -> dict[str, str | list[str]]:
    return {"name": name, "pattern": "team/**", "keys": [str(file)]}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "release.pub"
    file.write_text(public_pem(KEY))
    return file


@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.slow), 2], ids=["one worker", "two workers"])
def guarded(request: pytest.FixtureRequest, start_shoal: StartShoal, key_file: Path) -> ShoalServer:
    return start_shoal(workers=request.param, settings={"signatures": [policy(key_file)]})


def ask(
    client: RegistryClient, reference: str, method: str = "GET", repository: str = "team/app", **headers: str
) -> int:
    path = f"/v2/{repository}/manifests/{reference}"
    return client.request(method, path, headers={"Accept": "*/*", "Connection": "close", **headers}).status_code


def everywhere(client: RegistryClient, reference: str = "1") -> set[int]:
    """The answers of many connections, so that each worker has its turn."""
    return {ask(client, reference) for _ in range(20)}


def test_pushes_are_taken_and_pulls_wait_for_a_signature(guarded: ShoalServer) -> None:
    with RegistryClient(guarded.url) as client:
        client.push_image("team/app", IMAGE, "1")
        client.push_image("free/app", IMAGE, "1")
        for reference in ("1", IMAGE.digest):
            assert ask(client, reference) == 403
            assert ask(client, reference, "HEAD") == 200  # without accounts: it is asked before a push
            assert ask(client, reference, repository="free/app") == 200
        answer = client.request("GET", "/v2/team/app/manifests/1", want=403)
        assert error_code(answer) == "DENIED"
        assert "signature policy 'releases'" in answer.json()["errors"][0]["message"]
        assert answer.json()["errors"][0]["detail"] == {"policy": "releases", "digest": IMAGE.digest}

        client.push_image("team/app", IMAGE, "1")
        client.push_image("team/app", simply_signed(IMAGE.manifest, KEY), signature_tag(IMAGE.digest))
        assert everywhere(client) == {200}
        client.check_image("team/app", IMAGE, "1")

        client.delete_manifest("team/app", signature_tag(IMAGE.digest))
        assert everywhere(client) == {403}


def test_what_is_not_modified_is_refused_all_the_same(guarded: ShoalServer) -> None:
    with RegistryClient(guarded.url) as client:
        client.push_image("team/app", IMAGE, "1")
        assert ask(client, "1", **{"If-None-Match": f'"{IMAGE.digest}"'}) == 403


def test_signatures_lists_and_layers_are_served(guarded: ShoalServer) -> None:
    signature = signing.bundled(IMAGE.manifest, new_key())
    with RegistryClient(guarded.url) as client:
        client.push_image("team/app", IMAGE, "1")
        client.push_image("team/app", signature)
        client.check_image("team/app", signature)
        assert [entry["digest"] for entry in client.referrers("team/app", IMAGE.digest)] == [signature.digest]
        assert client.tags("team/app") == ["1"]
        assert client.blob("team/app", IMAGE.layers[0].digest) == IMAGE.layers[0].content


def test_an_index_vouches_for_its_images(guarded: ShoalServer) -> None:
    listing = index(IMAGE, small_image(2, architecture="arm64"))
    with RegistryClient(guarded.url) as client:
        client.push_index("team/app", listing, "1")
        digests = [listing.digest, *(item.digest for item in listing.images)]
        assert {ask(client, digest) for digest in digests} == {403}
        client.push_image("team/app", signing.bundled(listing.manifest, KEY))
        assert {ask(client, digest) for digest in digests} == {200}


@pytest.mark.parametrize("program", ["cosign/v3.1.2 (linux; amd64) go-containerregistry/v0.20", "notation/1.3.2"])
def test_programs_that_sign_can_read_what_they_sign(guarded: ShoalServer, program: str) -> None:
    with RegistryClient(guarded.url) as client:
        client.push_image("team/app", IMAGE, "1")
        assert ask(client, "1", **{"User-Agent": program}) == 200
        assert ask(client, "1", **{"User-Agent": f"not {program}"}) == 403


def reload(server: ShoalServer, done: Callable[[], bool], event: str) -> None:
    """Have the server read its settings again, and wait until they are in force."""
    before = sum(entry["event"].startswith(event) for entry in server.logged())
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(
        lambda _: sum(entry["event"].startswith(event) for entry in server.logged()) > before and done()
    )


def test_keys_and_policies_that_change_while_it_runs(guarded: ShoalServer, key_file: Path) -> None:
    with RegistryClient(guarded.url) as client:
        client.push_image("team/app", IMAGE, "1")
        client.push_image("team/app", simply_signed(IMAGE.manifest, KEY), signature_tag(IMAGE.digest))
        assert everywhere(client) == {200}

        key_file.write_text(public_pem(new_key()))
        assert everywhere(client) == {200}
        reload(guarded, lambda: everywhere(client) == {403}, "the settings were read again")

        key_file.write_text(public_pem(KEY))
        reload(guarded, lambda: everywhere(client) == {200}, "the settings were read again")

        key_file.write_text("no key")
        reload(guarded, lambda: True, "the settings were not read again")
        assert everywhere(client) == {200}
        client.delete_manifest("team/app", signature_tag(IMAGE.digest))
        assert everywhere(client) == {403}


def test_a_server_does_not_start_with_keys_that_cannot_be_read(start_shoal: StartShoal, key_file: Path) -> None:
    key_file.write_text("no key")
    with pytest.raises(AssertionError, match=r"shoal: signatures 'releases': \S+release.pub: it holds no PEM block"):
        start_shoal(settings={"signatures": [policy(key_file)]})
