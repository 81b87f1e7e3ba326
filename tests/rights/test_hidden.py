"""What somebody may not see answers exactly as what does not exist, and nobody looks whether it is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import requests

from tests.harness.client import RegistryClient
from tests.harness.content import Blob, artifact, small_image
from tests.rights.conftest import Town

IMAGE = small_image(7101)
HIDDEN, ABSENT = "ann/secret", "ann/nobody"  # as long as each other
OTHER = Blob(b"nobody has pushed this")


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}{' in part' if 'Range' in self.headers else ''}"


READS = [
    Asked(method, path)
    for path in (
        "manifests/1",
        f"manifests/{IMAGE.digest}",
        f"blobs/{IMAGE.layers[0].digest}",
        "tags/list",
        "tags/list?n=1",
        f"referrers/{IMAGE.digest}",
    )
    for method in ("GET", "HEAD")
]
REQUESTS = [
    *READS,
    Asked("GET", f"blobs/{IMAGE.layers[0].digest}", {"Range": "bytes=0-4"}),
    Asked("GET", f"blobs/{IMAGE.layers[0].digest}", {"If-None-Match": f'"{IMAGE.layers[0].digest}"'}),
    Asked("PUT", "manifests/1", {"Content-Type": IMAGE.manifest.media_type}, IMAGE.manifest.content),
    Asked("DELETE", "manifests/1"),
    Asked("DELETE", f"blobs/{IMAGE.layers[0].digest}"),
    Asked("POST", "blobs/uploads/"),
    Asked("POST", f"blobs/uploads/?mount={IMAGE.layers[0].digest}"),
    Asked("POST", f"blobs/uploads/?digest={OTHER.digest}", {}, OTHER.content),
    Asked("GET", "blobs/uploads/SESSION"),
    Asked("PATCH", "blobs/uploads/SESSION", {}, b"bytes"),
    Asked("PUT", f"blobs/uploads/SESSION?digest={OTHER.digest}", {}, OTHER.content),
    Asked("DELETE", "blobs/uploads/SESSION"),
]


@pytest.fixture(scope="session")
def session(town: Town) -> str:
    """The path of an upload that is open in the hidden repository, which holds an image and its referrer."""
    with town.client("ann") as ann:
        ann.push_image(HIDDEN, IMAGE, "1")
        ann.push_image(HIDDEN, artifact(subject=IMAGE.manifest))
        return ann.start_upload(HIDDEN).rpartition("/")[2]


def visitors(town: Town) -> list[RegistryClient]:
    scopes = [f"repository:{name}:pull,push,delete" for name in (HIDDEN, ABSENT, "bob/app")]
    return [
        town.client(""),
        town.client("bob"),
        town.bearing(town.token("bob", *scopes)),
        town.bearing(town.token("", *scopes)),
    ]


def seen(answer: requests.Response, *names: str) -> tuple[int, dict[str, str], str]:
    """All that a client sees, but for what differs from request to request, and the names that it asked for itself."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("Date", "X-Request-Id")}
    whole = repr((headers, answer.text))
    for name in names:
        whole = whole.replace(name, "NAME")
    return answer.status_code, {"names": ",".join(sorted(headers))}, re.sub(r"[0-9a-f]{32}", "SESSION", whole)


@pytest.mark.parametrize("asked", REQUESTS, ids=str)
def test_a_hidden_repository_is_as_if_it_were_not_there(town: Town, session: str, asked: Asked) -> None:
    for client in visitors(town):
        with client:
            answers, looks = [], []
            for name in (HIDDEN, ABSENT):
                town.hooks.looks()
                path = f"/v2/{name}/{asked.path.replace('SESSION', session)}"
                answers.append(client.request(asked.method, path, headers=dict(asked.headers), data=asked.data))
                looks.append(town.hooks.looks())

            assert answers[0].status_code in (401, 403)
            assert seen(answers[0], HIDDEN, ABSENT) == seen(answers[1], HIDDEN, ABSENT)
            assert looks == [[], []], "it was looked for before the right to it was decided"


def test_whoever_may_does_see_it(town: Town, session: str) -> None:
    """The same requests tell much where they are allowed, so that the test above compares something."""
    with town.client("ann") as ann:
        town.hooks.looks()
        for asked in READS:
            ann.request(asked.method, f"/v2/{HIDDEN}/{asked.path}", want=200)
            assert asked.method == "HEAD" or town.hooks.looks()
        ann.request("GET", f"/v2/{HIDDEN}/blobs/uploads/{session}", want=204)


@pytest.mark.parametrize("digest", [IMAGE.layers[0].digest, OTHER.digest], ids=["is somewhere", "is nowhere"])
@pytest.mark.parametrize("source", [HIDDEN, ABSENT, None])
def test_a_mount_from_what_is_hidden(town: Town, session: str, digest: str, source: str | None) -> None:
    """Always an upload that begins, as where nothing can be mounted, and nothing but that."""
    for client in visitors(town)[1:3]:
        with client:
            town.hooks.looks()
            params = {"mount": digest, **({"from": source} if source else {})}
            answer = client.request("POST", "/v2/bob/app/blobs/uploads/", params=params)

            assert answer.status_code == 202, session
            assert town.hooks.looks() == ["FileUploads.begin"]
            assert not client.has_blob("bob/app", digest)


def test_a_mount_from_what_is_shared_looks_nowhere_else(town: Town, session: str) -> None:
    with town.client("bob") as bob:
        bob.push_blob("shared/base", b"a base")
        looks = []
        for digest in (IMAGE.layers[0].digest, OTHER.digest):
            town.hooks.looks()
            assert not bob.mount("bob/app", digest, "shared/base"), session
            looks.append(town.hooks.looks())

    assert looks[0] == looks[1] == ["CachedReader.blob", "FileUploads.begin"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_the_upload_of_somebody_else_in_a_shared_repository(town: Town, method: str) -> None:
    """Also for who may push there: it is as if there were no such session, and its owner notices nothing."""
    with town.client("ann") as ann, town.client("bob") as bob:
        location = ann.patch(ann.start_upload("shared/uploads"), b"first ")
        mine = location.rpartition("/")[2]
        nobodys = "0" * len(mine)
        answers = []
        for session in (mine, nobodys):
            path = f"/v2/shared/uploads/blobs/uploads/{session}"
            params = {"digest": OTHER.digest} if method == "PUT" else None
            data = OTHER.content if method in ("PATCH", "PUT") else None
            answers.append(bob.request(method, path, data=data, params=params))

        assert answers[0].status_code == 404
        assert seen(answers[0], mine, nobodys) == seen(answers[1], mine, nobodys)
        whole = Blob(b"first second")
        ann.finish_upload(location, whole.digest, b"second")
        assert ann.blob("shared/uploads", whole.digest) == whole.content


@pytest.fixture(scope="session")
def street(town: Town) -> list[str]:
    """Repositories of which ann may see every second one; returns those."""
    with town.client("root") as admin:
        for number in range(7):
            admin.push_image(f"street/{number}", IMAGE, "1")
    visible = [f"street/{number}" for number in (1, 3, 5)]
    town.hooks.accounts("add_user", "walker", "a password of a walker", is_admin=False)
    for name in visible:
        town.hooks.accounts("grant", "walker", name, "pull")
    return visible


@pytest.fixture
def walker(town: Town) -> RegistryClient:
    client = RegistryClient(town.server.url)
    client.session.auth = ("walker", "a password of a walker")
    return client


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_of_the_catalog_pass_hidden_names(street: list[str], walker: RegistryClient, size: int) -> None:
    pages, path = [], f"/v2/_catalog?n={size}&last=street/"
    while path:
        answer = walker.request("GET", path, want=200)
        pages.append(answer.json()["repositories"])
        path = answer.links.get("next", {}).get("url", "")

    assert pages == [street[at : at + size] for at in range(0, len(street), size)]


@pytest.mark.parametrize(
    ("hidden", "absent"), [("street/2", "street/29"), ("street/6", "street/69"), ("street/0", "s")]
)
def test_a_page_after_a_hidden_name(street: list[str], walker: RegistryClient, hidden: str, absent: str) -> None:
    pages = [walker.request("GET", "/v2/_catalog", params={"n": "1", "last": name}) for name in (hidden, absent)]

    assert seen(pages[0]) == seen(pages[1])
    assert not set(pages[0].json()["repositories"]) - set(street)


@pytest.mark.usefixtures("street")
def test_hidden_names_cost_no_read_each(town: Town, walker: RegistryClient) -> None:
    """Otherwise the time of a page would tell how many there are, and a page of one name would cost a thousand."""
    looks = []
    for last in ("street/", "street/4", "street/7"):
        town.hooks.looks()
        walker.request("GET", "/v2/_catalog", params={"n": "1", "last": last}, want=200)
        looks.append(town.hooks.looks())

    assert looks == [["CachedReader.repositories"]] * 3


def test_lists_of_what_is_open_to_all(town: Town) -> None:
    with town.client("root") as admin, town.client("") as nobody:
        admin.push_image("open/base", IMAGE, "1")
        nobody.session.headers["Authorization"] = f"Bearer {town.token('', 'registry:catalog:*')}"

        assert nobody.catalog() == ["open/base"]


def test_what_is_for_everybody_names_nobody(town: Town, session: str) -> None:
    """Metrics, health and keys."""
    with town.client("") as nobody:
        for path in ("/metrics", "/healthz", "/readyz", "/auth/keys"):
            text = nobody.request("GET", path, want=200).text
            for name in (HIDDEN, "ann", "secret", session, "root"):
                assert not re.search(rf"\b{re.escape(name)}\b", text), (path, name)
