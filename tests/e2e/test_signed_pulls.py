"""Real clients and a server that serves only signed images; and cosign itself, where it is on PATH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.e2e.conftest import MakeContext
from tests.harness import signing
from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.content import Image, image, index, layer, random_layer, small_image, write_layout
from tests.harness.dockerd import Dockerd
from tests.harness.podman import Podman
from tests.harness.process import run
from tests.harness.server import ShoalServer
from tests.harness.signing import new_key, public_pem, signature_tag, simply_signed

KEY = new_key()
REFUSED = "signature policy 'releases'"


@pytest.fixture
def guarded(start_shoal: StartShoal, tmp_path: Path) -> ShoalServer:
    """Serves of team/** what KEY has signed."""
    file = tmp_path / "release.pub"
    file.write_text(public_pem(KEY))
    policy = {"name": "releases", "pattern": "team/**", "keys": [str(file)]}
    return start_shoal(settings={"signatures": [policy]})


@pytest.fixture
def client(guarded: ShoalServer) -> Iterator[RegistryClient]:
    with RegistryClient(guarded.url) as plain:
        plain.session.headers["User-Agent"] = "cosign/of-the-tests"  # one that may read what is not signed yet
        yield plain


def sign_by_tag(client: RegistryClient, repository: str, tag: str) -> None:
    manifest = client.manifest(repository, tag)
    client.push_image(repository, simply_signed(manifest, KEY), signature_tag(manifest.digest))


def sign_by_bundle(client: RegistryClient, repository: str, tag: str) -> None:
    client.push_image(repository, signing.bundled(client.manifest(repository, tag), KEY))


Sign = Callable[[RegistryClient, str, str], None]
WAYS = pytest.mark.parametrize("sign", [sign_by_tag, sign_by_bundle], ids=["tag", "bundle"])


@pytest.mark.require("dockerd", "docker", "gcc", "root")
@WAYS
def test_docker(
    docker: Dockerd, guarded: ShoalServer, client: RegistryClient, make_context: MakeContext, sign: Sign
) -> None:
    name = f"{guarded.host}/team/docker:1"
    built = docker.build(name, make_context("hello from a signer"))
    for _ in range(2):  # also while what the tag names is not signed
        docker.docker("push", name)
    digest = docker.repository_digest(name)
    docker.remove(name)
    for wanted in (name, f"{guarded.host}/team/docker@{digest}"):
        assert REFUSED in docker.docker("pull", wanted, fails=True)

    sign(client, "team/docker", "1")

    docker.docker("pull", name)
    assert docker.image_id(name) == built
    assert docker.run_image(name) == "hello from a signer"
    docker.remove(name)


@pytest.mark.require("podman", "root")
@WAYS
def test_podman(containers: Podman, guarded: ShoalServer, client: RegistryClient, tmp_path: Path, sign: Sign) -> None:
    name, plain = f"{guarded.host}/team/podman:1", "--tls-verify=false"
    layout = write_layout(image(random_layer(100_000, 5)), "1", tmp_path / "layout")
    containers.podman("pull", f"oci:{layout}:1")
    loaded = containers.podman("images", "--quiet").split()[0]
    for _ in range(2):
        containers.podman("push", plain, loaded, f"docker://{name}")
    containers.podman("pull", plain, name, fails=True)

    sign(client, "team/podman", "1")

    containers.podman("pull", plain, name)
    containers.podman("rmi", "--force", loaded)


@pytest.mark.require("podman", "root")
def test_podman_and_an_image_whose_layers_are_called_signatures(
    containers: Podman, guarded: ShoalServer, client: RegistryClient
) -> None:
    item = image(layer({"file": b"not signed"}, media_type=signing.SIMPLE_SIGNING))
    for repository in ("free/podman", "team/podman"):
        client.push_image(repository, item, "1")
    pull = ["pull", "--tls-verify=false"]
    containers.podman(*pull, f"{guarded.host}/free/podman:1")  # it takes such a layer
    containers.podman(*pull, f"{guarded.host}/team/podman:1", fails=True)
    containers.podman("rmi", f"{guarded.host}/free/podman:1")


@pytest.mark.require("skopeo")
def test_skopeo_with_an_index(guarded: ShoalServer, client: RegistryClient, tmp_path: Path) -> None:
    whole = index(*(small_image(seed, architecture=name) for seed, name in enumerate(("amd64", "arm64"))))
    target = f"docker://{guarded.host}/team/skopeo:1"
    layout = write_layout(whole, "1", tmp_path / "layout")
    for _ in range(2):
        run(["skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:1", target])
    pull = ["skopeo", "copy", "--src-tls-verify=false"]
    assert REFUSED in run([*pull, "--all", target, f"dir:{tmp_path / 'refused'}"], fails=True).stderr
    for part in whole.images:
        by_digest = target.rpartition(":")[0] + f"@{part.digest}"
        assert REFUSED in run([*pull, by_digest, f"dir:{tmp_path / 'refused'}"], fails=True).stderr

    sign_by_bundle(client, "team/skopeo", "1")

    run([*pull, "--all", target, f"dir:{tmp_path / 'all'}"])
    run([*pull, target, f"dir:{tmp_path / 'one'}"])


@pytest.mark.require("containerd", "ctr", "root")
def test_containerd(ctr: Containerd, guarded: ShoalServer, client: RegistryClient) -> None:
    item = image(layer({"file": b"of a signer"}))
    name = f"{guarded.host}/team/ctr:1"
    client.push_image("team/ctr", item, "1")
    ctr.ctr("images", "pull", "--plain-http", name, fails=True)

    sign_by_tag(client, "team/ctr", "1")

    ctr.pull(name)
    assert ctr.digest(name) == item.digest
    ctr.forget(name)


@pytest.mark.require("containerd", "ctr", "root")
def test_containerd_pushes_a_tag_again(ctr: Containerd, guarded: ShoalServer, client: RegistryClient) -> None:
    item, name = image(layer({"file": b"pushed twice"})), f"{guarded.host}/team/ctr:2"
    client.push_image("free/ctr", item, "1")
    ctr.pull(f"{guarded.host}/free/ctr:1")
    ctr.ctr("images", "tag", f"{guarded.host}/free/ctr:1", name)
    for _ in range(2):
        ctr.push(name)
    assert client.resolve("team/ctr", "2") == item.digest
    ctr.forget(name, f"{guarded.host}/free/ctr:1")


class TestCosign:
    """The program itself signs; the server verifies what it made."""

    pytestmark = pytest.mark.require("cosign")

    @pytest.fixture
    def keys(self, tmp_path: Path) -> Path:
        run(["cosign", "generate-key-pair"], cwd=tmp_path, env={"COSIGN_PASSWORD": ""})
        return tmp_path

    @pytest.mark.parametrize("form", ["bundle", "tag", "referrer"])
    @pytest.mark.parametrize("what", ["image", "index"])
    def test_signs(self, keys: Path, start_shoal: StartShoal, form: str, what: str) -> None:
        policy = {"name": "releases", "pattern": "team/**", "keys": [str(keys / "cosign.pub")]}
        server = start_shoal(settings={"signatures": [policy]})
        item = small_image(7)
        whole = index(item, small_image(8, architecture="arm64"))
        with RegistryClient(server.url) as client:
            client.push_index("team/app", whole, "all")
            client.push_image("team/app", item, "1")
            signed = whole.digest if what == "index" else item.digest
            assert pulls(client, item) == pulls(client, signed) == 403

            words: list[str | Path] = ["sign", "--yes", "--key", keys / "cosign.key", "--allow-http-registry"]
            words += [
                "--use-signing-config=false",
                "--tlog-upload=false",
                f"--new-bundle-format={str(form == 'bundle').lower()}",
            ]
            words += ["--registry-referrers-mode", "oci-1-1" if form == "referrer" else "legacy"]
            experiments = {"COSIGN_EXPERIMENTAL": "1" if form == "referrer" else "0"}
            run(["cosign", *words, f"{server.host}/team/app@{signed}"], env={"COSIGN_PASSWORD": "", **experiments})

            assert pulls(client, item) == pulls(client, signed) == 200
            assert (signature_tag(signed) in client.tags("team/app")) is (form == "tag")
            verify: list[str | Path] = [
                "verify",
                "--key",
                keys / "cosign.pub",
                "--allow-http-registry",
                "--insecure-ignore-tlog=true",
            ]
            verify += ["--experimental-oci11"] if form == "referrer" else []
            run(["cosign", *verify, f"{server.host}/team/app@{signed}"])


def pulls(client: RegistryClient, what: Image | str) -> int:
    digest = what if isinstance(what, str) else what.digest
    return client.request("GET", f"/v2/team/app/manifests/{digest}").status_code
