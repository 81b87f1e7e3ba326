"""What an old registry holds when somebody moves in, and the commands that an operator gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from registry.cli import main
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.content import Blob, Image, Index
from tests.harness.process import clean_environment
from tests.harness.server import ROOT

Json = dict[str, Any]


@dataclass
class Holdings:
    """All that was pushed: repository to tags, and every manifest with its blobs by repository and digest."""

    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    images: list[tuple[str, Image]] = field(default_factory=list)
    indexes: list[tuple[str, Index]] = field(default_factory=list)
    untagged: list[tuple[str, Image]] = field(default_factory=list)

    def image(self, client: RegistryClient, repository: str, image: Image, tag: str | None = None) -> None:
        client.push_image(repository, image, tag)
        if tag is None:
            self.untagged.append((repository, image))
        else:
            self.images.append((repository, image))
            self.tags.setdefault(repository, {})[tag] = image.digest

    def index(self, client: RegistryClient, repository: str, index: Index, tag: str) -> None:
        client.push_index(repository, index, tag)
        self.indexes.append((repository, index))
        self.tags.setdefault(repository, {})[tag] = index.digest

    def check(self, client: RegistryClient, *, untagged: bool = True) -> None:
        """Raises AssertionError unless every tag, manifest and blob comes byte for byte."""
        assert client.catalog() == sorted({repository for repository, _ in self.images + self.untagged})
        for repository, tags in self.tags.items():
            assert {tag: client.resolve(repository, tag) for tag in client.tags(repository)} == tags
        for repository, image in self.images + (self.untagged if untagged else []):
            client.check_image(repository, image)
        for repository, index in self.indexes:
            assert client.manifest(repository, index.digest) == index.manifest
            for image in index.images:
                client.check_image(repository, image)


def fill(client: RegistryClient) -> Holdings:
    """Both kinds of images and of lists, shared layers, artifacts, an untagged image, a deleted one, a moved tag."""
    holdings, shared = Holdings(), content.random_layer(300_000, 1)
    docker_layer = content.random_layer(200_000, 2, media_type=content.DOCKER_LAYER)
    subject = content.image(shared, content.random_layer(5_000_000, 3))
    holdings.image(client, "app", subject, "v1")
    holdings.image(client, "app", subject, "latest")
    holdings.image(client, "app", content.image(docker_layer, docker=True), "docker")
    holdings.image(client, "app", content.small_image(1))
    holdings.image(client, "app/deep/er", content.image(shared), "1.0")
    two = (content.small_image(2, docker=True), content.small_image(3, docker=True, architecture="arm64"))
    holdings.index(client, "team_a/list", content.index(*two, docker=True), "docker")
    others = (content.small_image(4), content.small_image(5, architecture="arm64"))
    holdings.index(client, "team_a/list", content.index(*others), "oci")
    holdings.image(client, "team_a/list", content.artifact(subject=others[0].manifest), "signature")
    moved = content.small_image(6)
    client.push_image("app", moved, "latest")
    holdings.image(client, "app", moved, "latest")
    gone = content.small_image(7)
    client.push_image("app", gone, "gone")
    client.delete_manifest("app", gone.digest)
    return holdings


def foreign_layer_image() -> Image:
    """An image whose one layer is fetched from elsewhere and is in no registry."""
    layer = Blob(b"never pushed", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    return content.image(layer, docker=True)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "registry", *map(str, words)]


def shoal(
    *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """`shoal …` to its end."""
    return subprocess.run(
        command(*words), cwd=ROOT, env=clean_environment(env), input=stdin, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


def told(*words: str | Path, status: int = 0, stdin: str = "", env: Mapping[str, str] | None = None) -> Json:
    """What `shoal … --json` tells, in this process (which takes a tenth of the time); asserts its exit status."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"], input=stdin, env=env)
    assert done.exit_code == status, done.output + repr(done.exception)
    document: Json = json.loads(done.stdout)
    return document


def take(*words: str | Path, status: int = 0, stdin: str = "", env: Mapping[str, str] | None = None) -> Json:
    """The report of `shoal import`."""
    return told("import", *words, status=status, stdin=stdin, env=env)


def fsck(data: Path, *words: str, status: int = 0) -> list[Json]:
    """What `shoal fsck` found."""
    found: list[Json] = told("fsck", "--data", data, *words, status=status)["findings"]
    assert all(finding["advice"] and finding["detail"] for finding in found)
    return found


def kinds(problems: Sequence[Json]) -> set[tuple[str, str]]:
    return {(problem["what"], problem["kind"]) for problem in problems}
