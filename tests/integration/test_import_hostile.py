"""`shoal import` from sources that were made by somebody who means harm, or by a disk that forgets."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.harness import content
from tests.harness.docker_registry import blob_file, manifests_of
from tests.harness.moving import kinds, shoal, take

IMAGE = content.small_image(1)
DEEP = b"[" * 100_000 + b"]" * 100_000


def write(storage: Path, image: content.Image, repository: str, tag: str) -> None:
    """An image in the storage of docker-registry, which need not be there for that."""
    for blob in (*image.blobs, image.manifest):
        file = blob_file(storage, blob.digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blob.content)
    manifests = manifests_of(storage, repository)
    for folder in (f"revisions/sha256/{image.digest.removeprefix('sha256:')}", f"tags/{tag}/current"):
        (manifests / folder).mkdir(parents=True)
        (manifests / folder / "link").write_text(image.digest)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    write(tmp_path / "old", IMAGE, "app", "v1")
    return tmp_path / "old"


class TestStorage:
    def test_a_manifest_that_is_nested_without_end_is_refused(self, storage: Path, tmp_path: Path) -> None:
        deep = content.Image(content.Blob(DEEP, IMAGE.manifest.media_type), IMAGE.config, ())
        write(storage, deep, "deep", "v1")
        told = take("distribution", storage, "--data", tmp_path / "new", status=1)
        assert kinds(told["problems"]) == {(deep.digest, "refused"), ("v1", "refused")}
        assert told["tags"] == 1

    def test_names_that_are_no_text_are_told(self, storage: Path, tmp_path: Path) -> None:
        tags, repositories = manifests_of(storage, "app") / "tags", manifests_of(storage, "app").parent.parent
        for folder in (os.fsencode(tags / "x") + b"\xff", os.fsencode(repositories / "x") + b"\xff/_manifests"):
            os.makedirs(folder)  # noqa: PTH103 - a Path takes no bytes
        words = ("import", "distribution", storage, "--data", tmp_path / "new")
        done = shoal(*words, env={"PYTHONIOENCODING": "utf-8:strict"})
        assert done.returncode == 1
        assert done.stdout.count("x\\udcff") == 2
        assert done.stderr == ""

    def test_pipes_are_not_waited_for(self, storage: Path, tmp_path: Path) -> None:
        other = content.small_image(2)
        write(storage, other, "other", "v1")
        for file in (blob_file(storage, other.layers[0].digest), manifests_of(storage, "app") / "tags/v1/current/link"):
            file.unlink()
            os.mkfifo(file)
        words = ("import", "distribution", storage, "--data", tmp_path / "new", "--json")
        done = shoal(*words, timeout=30)
        assert (other.layers[0].digest, "damaged") in kinds(json.loads(done.stdout)["problems"])
        assert ("v1", "damaged") in kinds(json.loads(done.stdout)["problems"])

    def test_links_that_lead_back_are_not_followed_and_others_are(self, storage: Path, tmp_path: Path) -> None:
        repositories = manifests_of(storage, "app").parent.parent
        elsewhere = tmp_path / "elsewhere"
        (repositories / "app").rename(elsewhere)
        (repositories / "app").symlink_to(elsewhere)
        for name in ("here", "again", "app/back"):
            (repositories / name).symlink_to(repositories)
        (repositories / "dangling").symlink_to("nowhere")
        told = take("distribution", storage, "--data", tmp_path / "new")
        assert (told["repositories"], told["tags"]) == (1, 1)


Answers = Mapping[str, tuple[Mapping[str, str], bytes]]
"""By path: headers and body."""


@contextmanager
def lying(answers: Answers) -> Iterator[str]:
    """A registry that answers as it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers, body = answers.get(self.path, ({}, b""))
            self.send_response(200 if self.path in answers else 404)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def following(path: str) -> dict[str, str]:
    return {"Link": f'<{path}>; rel="next"'}


def image_answers(repository: str) -> dict[str, tuple[Mapping[str, str], bytes]]:
    headers = {"Content-Type": IMAGE.manifest.media_type, "Docker-Content-Digest": IMAGE.digest}
    manifest = (headers, IMAGE.manifest.content)
    base = f"/v2/{repository}"
    return {
        "/v2/_catalog": ({}, json.dumps({"repositories": [repository]}).encode()),
        f"{base}/tags/list": ({}, b'{"tags": ["v1"]}'),
        f"{base}/manifests/v1": manifest,
        f"{base}/manifests/{IMAGE.digest}": manifest,
        **{f"{base}/blobs/{blob.digest}": ({}, blob.content) for blob in IMAGE.blobs},
    }


class TestRegistry:
    def test_lists_that_lead_back_to_a_page_come_to_an_end(self, tmp_path: Path) -> None:
        image, one, two = image_answers("app"), "/v2/_catalog?page=1", "/v2/_catalog?page=2"
        referrers = f"/v2/app/referrers/{IMAGE.digest}"
        circle = {
            "/v2/_catalog": (following(one), b"{}"),
            one: (following(two), image["/v2/_catalog"][1]),
            two: (following(one), b"{}"),
            referrers: (following(referrers), b'{"manifests": []}'),
        }
        with lying({**image, **circle}) as url:
            assert take("registry", url, "--data", tmp_path / "new")["tags"] == 1

    @pytest.mark.parametrize("body", [DEEP, b"<html>", b"[]", b"\xff", b"x" * 65 * 1024 * 1024])
    def test_lists_that_are_none_are_told(self, tmp_path: Path, body: bytes) -> None:
        with lying({"/v2/_catalog": ({}, body)}) as url:
            told = take("registry", url, "--data", tmp_path / "new", status=1)
        assert "does not list its repositories" in told["stopped"]
        assert len(told["stopped"]) < 500

    def test_names_that_leave_the_repositories_are_refused(self, tmp_path: Path) -> None:
        for name in ("../../etc", "/etc", "a//b", "a?x=/../..", "a\n", "%2e%2e/x"):
            with lying(image_answers(name)) as url:
                told = take("registry", url, "--data", tmp_path / "new", status=1)
            assert kinds(told["problems"]) == {("", "refused")}
