"""Holes that other registries had: each of these once let somebody read, or learn of, what was not theirs."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
import requests
from requests.adapters import HTTPAdapter

from registry.domain.access import parse_account
from registry.domain.patterns import parse_pattern
from registry.errors import AccessInvalid
from registry.storage.blobs_store import URL_SECONDS
from tests.conftest import StartShoal
from tests.harness.accounts import ADMIN, password_of, with_accounts
from tests.harness.client import RegistryClient, error_code
from tests.harness.content import OCI_INDEX, OCI_LAYER, Blob, artifact, digest_of, image, json_blob, layer, small_image
from tests.integration.raw import ask
from tests.rights.conftest import Town

SECRET = small_image(7201)
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


@pytest.fixture(scope="module", autouse=True)
def secret(town: Town) -> None:
    with town.client("ann") as ann:
        ann.push_image("ann/app", SECRET, "1")


def test_a_blob_is_not_read_through_another_repository(town: Town) -> None:
    with town.client("bob") as bob:
        bob.push_image("bob/app", small_image(7202), "1")
        answers = [
            bob.request("GET", f"/v2/bob/app/blobs/{digest}", want=404)
            for digest in (SECRET.layers[0].digest, digest_of(b"nowhere"))
        ]
        assert [error_code(answer) for answer in answers] == ["BLOB_UNKNOWN"] * 2
        bob.request("GET", f"/v2/bob/app/manifests/{SECRET.digest}", want=404)


def test_a_manifest_does_not_bring_the_blobs_it_names(town: Town) -> None:
    with town.client("bob") as bob:
        headers = {"Content-Type": SECRET.manifest.media_type}
        for item in (SECRET.manifest, image(Blob(b"x", OCI_LAYER)).manifest):
            answer = bob.request("PUT", "/v2/bob/thief/manifests/1", data=item.content, headers=headers, want=404)
            assert error_code(answer) == "MANIFEST_BLOB_UNKNOWN"


def test_a_layer_that_need_not_be_there_is_not_taken_from_elsewhere(town: Town) -> None:
    foreign = Blob(SECRET.layers[0].content, NONDISTRIBUTABLE)
    item = image(foreign, layer({"own": b"own"}))
    with town.client("bob") as bob:
        bob.push_blob("bob/foreign", item.config.content)
        bob.push_blob("bob/foreign", item.layers[1].content)
        bob.push_manifest("bob/foreign", "1", item.manifest)

        assert not bob.has_blob("bob/foreign", foreign.digest)
        bob.request("GET", f"/v2/bob/foreign/blobs/{foreign.digest}", want=404)


def test_an_index_does_not_bring_the_manifests_it_names(town: Town) -> None:
    listing = json_blob(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [SECRET.manifest.descriptor()]}, OCI_INDEX
    )
    with town.client("bob") as bob:
        bob.request(
            "PUT", "/v2/bob/index/manifests/1", data=listing.content, headers={"Content-Type": listing.media_type}
        )
        bob.request("GET", f"/v2/bob/index/manifests/{SECRET.digest}", want=404)


def test_referrers_stay_in_their_repository(town: Town) -> None:
    """Neither do those of others show what refers to it, nor can somebody attach something to what is not theirs."""
    sbom = artifact(Blob(b"a secret sbom"), subject=SECRET.manifest)
    forged = artifact(Blob(b"a forged sbom"), subject=SECRET.manifest)
    with town.client("ann") as ann, town.client("bob") as bob:
        ann.push_image("ann/app", sbom)
        bob.push_image("bob/app", forged)

        assert [entry["digest"] for entry in bob.referrers("bob/app", SECRET.digest)] == [forged.digest]
        assert [entry["digest"] for entry in ann.referrers("ann/app", SECRET.digest)] == [sbom.digest]


def test_a_mount_needs_the_right_to_its_source_in_the_same_token(town: Town) -> None:
    """Both by the account's grants and by the token's scopes, of which one alone is not enough."""
    digest = SECRET.layers[0].digest
    town.hooks.accounts("grant", "bob", "ann/lent", "pull")
    with town.client("ann") as ann:
        ann.push_image("ann/lent", SECRET, "1")
    target, source = "repository:bob/mounts:pull,push", "repository:ann/lent:pull repository:bob/later:pull,push"
    with town.bearing(town.token("bob", target)) as too_little, town.bearing(town.token("bob", target, source)) as both:
        assert not too_little.mount("bob/mounts", digest, "ann/lent")
        assert not both.mount("bob/mounts", digest)
        assert not both.mount("bob/mounts", digest, "ann/app")
        assert both.mount("bob/mounts", digest, "ann/lent")

        town.hooks.accounts("revoke", "bob", "ann/lent")
        assert not both.mount("bob/later", digest, "ann/lent")
        assert both.blob("bob/mounts", digest) == SECRET.layers[0].content  # it is bob's by now


def test_a_token_of_before_a_grant_was_revoked(town: Town) -> None:
    name = town.newcomer("revoked")
    with town.bearing(town.token(name, "repository:shared/revoked:pull,push")) as client:
        client.push_image("shared/revoked", SECRET, "1")
        location = client.patch(client.start_upload("shared/revoked"), b"begun")

        town.hooks.accounts("grant", name, "shared/**", "pull")
        for method, path in (("PATCH", location), ("PUT", f"{location}?digest={digest_of(b'')}"), ("DELETE", location)):
            client.request(method, path, want=401)
        client.check_image("shared/revoked", SECRET)

        town.hooks.accounts("revoke", name, "shared/**")
        answer = client.request("GET", "/v2/shared/revoked/manifests/1", want=401)
        assert 'scope="repository:shared/revoked:pull",error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_a_project_that_is_made_private(town: Town) -> None:
    with town.client("root") as admin, town.bearing(town.token("", "repository:once-open/app:pull")) as nobody:
        admin.push_image("once-open/app", SECRET, "1")
        nobody.request("GET", "/v2/once-open/app/manifests/1", want=401)
        town.hooks.accounts("grant", "anonymous", "once-open/**", "pull")
        with town.bearing(town.token("", "repository:once-open/app:pull")) as in_time:
            in_time.check_image("once-open/app", SECRET, "1")

            town.hooks.accounts("revoke", "anonymous", "once-open/**")
            in_time.request("GET", "/v2/once-open/app/manifests/1", want=401)
            in_time.request("GET", f"/v2/once-open/app/blobs/{SECRET.layers[0].digest}", want=401)


def test_an_address_of_the_store_outlives_no_token(town: Town) -> None:
    answer = requests.get(f"{town.server.url}/auth/token", timeout=30)

    assert answer.json()["expires_in"] >= URL_SECONDS


@pytest.mark.parametrize(
    "name",
    [
        "Ann/app",
        "ANN/APP",
        "ann/App",
        "ann%2Fapp%00",
        "ann%2F%2Fapp",
        "ann//app",
        "./ann/app",
        "bob/../ann/app",
        "bob/%2e%2e/ann/app",
        "bob%2F..%2Fann%2Fapp",
        "ann/app/",
        "ann/app%20",
        "ann/app%0a",
        "ann%E2%88%95app",  # a slash that is none
        "%EF%BD%81nn/app",  # a wide a
        "%D0%B0nn/app",  # a Cyrillic a
        "ann/app?",
        "bob/app/manifests/1/../../../../ann/app",
    ],
)
@pytest.mark.parametrize("rest", ["manifests/1", "tags/list"])
def test_other_spellings_of_a_name(town: Town, name: str, rest: str) -> None:
    for who in ("bob", "ann"):
        with town.client(who) as client:
            authorization = client.request("GET", "/v2/").request.headers["Authorization"]
        answer = ask(town.server.url, "GET", f"/v2/{name}/{rest}", {"Authorization": authorization})
        assert answer.status in (400, 403, 404), answer
        assert SECRET.config.digest.encode() not in answer.body


def test_an_escaped_slash_is_a_slash_for_the_gate_and_for_the_handler(town: Town) -> None:
    for who, status in (("bob", 403), ("ann", 200)):
        with town.client(who) as client:
            authorization = client.request("GET", "/v2/").request.headers["Authorization"]
        answer = ask(town.server.url, "GET", "/v2/ann%2Fapp/manifests/1", {"Authorization": authorization})
        assert answer.status == status


LOOKALIKES = [
    "Ann",
    "ANN",
    "ann ",
    " ann",
    "\u0430nn",
    "\uff41nn",
    "ann\0",
    "ann\n",
    "a\u0301nn",
    "ann.",
    "@ann",
    "-ann",
]


class _Bound(HTTPAdapter):
    """Connections from one of our own addresses: too many wrong passwords keep out whoever shares theirs."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *words: Any, **options: Any) -> None:
        super().init_poolmanager(*words, **options, source_address=(self._address, 0))


def from_address(address: str) -> requests.Session:
    session = requests.Session()
    session.mount("http://", _Bound(address))
    return session


@pytest.mark.parametrize("name", LOOKALIKES, ids=ascii)
def test_other_spellings_of_an_account(town: Town, name: str) -> None:
    with pytest.raises(AccessInvalid):
        parse_account(name)
    credentials = b64encode(f"{name}:{password_of('ann')}".encode()).decode()
    form = {"grant_type": "password", "username": name, "password": password_of("ann")}
    with from_address(f"127.0.1.{LOOKALIKES.index(name) + 1}") as session:
        for path in ("/auth/token", "/v2/", "/v2/ann/app/manifests/1"):
            answer = session.get(town.server.url + path, headers={"Authorization": f"Basic {credentials}"}, timeout=30)
            assert answer.status_code == 401, (path, answer.text)
        assert session.post(f"{town.server.url}/auth/token", data=form, timeout=30).status_code == 401


@pytest.mark.parametrize("name", ["anonymous", "operator", "unknown", "", "a" * 65, "a/b", "a b", "a:b", "a,b", "é"])
def test_names_that_no_account_has(name: str) -> None:
    with pytest.raises(AccessInvalid):
        parse_account(name)


@pytest.mark.parametrize(
    "pattern", ["", "Team/**", "team/***", "/team", "team/", "team//app", "(team)", "a|b", "team/+"]
)
def test_patterns_that_no_grant_has(pattern: str) -> None:
    with pytest.raises(AccessInvalid):
        parse_pattern(pattern)


@pytest.mark.parametrize(
    ("headers", "realm"),
    [
        ({"Host": "registry.example:5000"}, "http://registry.example:5000/auth/token"),
        ({"Host": 'a",error="x'}, "http://localhost/auth/token"),
        ({"Host": "a b"}, "http://localhost/auth/token"),
        ({"Host": "user@elsewhere"}, "http://localhost/auth/token"),
        ({"Host": "elsewhere/path?"}, "http://localhost/auth/token"),
        ({"Host": "é"}, "http://localhost/auth/token"),
        ({"Host": "here", "X-Forwarded-Host": "elsewhere"}, "http://here/auth/token"),
        ({"Host": "here", "X-Forwarded-Proto": "https"}, "http://here/auth/token"),
        ({"Host": "here", "X-Forwarded-Proto": 'https",x="'}, "http://here/auth/token"),
        ({"Host": "here", "Forwarded": "host=elsewhere;proto=https"}, "http://here/auth/token"),
        ({"Host": "here", "X-Original-URL": "/v2/open/", "X-Rewrite-URL": "/v2/"}, "http://here/auth/token"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, dict) else "",
)
def test_where_a_challenge_sends_clients(town: Town, headers: dict[str, str], realm: str) -> None:
    answer = ask(
        town.server.url, "GET", "/v2/ann/app/manifests/1", {name: value.encode() for name, value in headers.items()}
    )

    assert answer.status == 401
    assert (
        answer.headers["www-authenticate"] == f'Bearer realm="{realm}",service="shoal",scope="repository:ann/app:pull"'
    )


def test_a_public_address_is_what_every_challenge_names(start_shoal: StartShoal) -> None:
    server = start_shoal(settings={"server": {"public_url": "https://registry.example", "allow_anonymous": True}})
    server.stop()
    with_accounts(server.data)
    server.start()

    answer = ask(server.url, "GET", "/v2/", {"Host": "elsewhere"})

    assert 'realm="https://registry.example/auth/token"' in answer.headers["www-authenticate"]


INJECTED = ["\r\nX-Injected: 1", '"', '",error="x', "\n", "\0", "\u2028", "é"]


@pytest.mark.parametrize("text", INJECTED, ids=ascii)
def test_nothing_of_a_request_comes_back_as_a_header(town: Town, text: str) -> None:
    escaped = quote(text)
    targets = [
        f"/auth/token?service={escaped}",
        f"/auth/token?service=shoal&scope={quote('repository:a')}{escaped}{quote(':pull')}",
        f"/auth/token?account={escaped}&client_id={escaped}",
        f"/v2/a{escaped}/manifests/1",
        f"/v2/ann/app/manifests/{escaped}",
        f"/v2/_catalog?last={escaped}&n=1",
        f"/v2/open/app/tags/list?last={escaped}",
    ]
    for target in targets:
        answer = ask(town.server.url, "GET", target)
        assert answer.status in (200, 400, 401, 404), (target, answer)
        assert "x-injected" not in answer.headers
        challenge = answer.headers.get("www-authenticate", "")
        assert challenge.count('"') in (0, 4, 6), challenge
        if answer.status >= 400:
            json.loads(answer.body)


def test_a_token_is_for_nothing_that_was_not_granted(town: Town) -> None:
    """Whatever is asked for: what a token may contain is what its account may do."""
    wanted = [
        "repository:ann/app:*",
        "repository:bob/app:*",
        "registry:admin:*",
        "registry:catalog:*",
        "repository:*:*",
    ]
    with town.bearing(town.token("bob", *wanted)) as client:
        client.request("GET", "/v2/ann/app/manifests/1", want=401)
        client.request("GET", "/v2/_catalog", want=200)
        client.push_blob("bob/app", b"mine")


def test_a_repository_called_like_the_scope_of_administrators(town: Town) -> None:
    with RegistryClient(town.server.url) as client:
        client.session.headers["Authorization"] = f"Bearer {town.token(ADMIN, 'repository:admin:pull,push')}"
        client.push_image("admin", SECRET, "1")
        client.check_image("admin", SECRET, "1")
        client.request("GET", "/v2/_catalog", want=401)


def test_the_owner_logs_in_while_somebody_else_guesses(town: Town) -> None:
    """From one address a thousand tries find out nothing, cost few hashes, and keep out nobody but that address."""
    name = town.newcomer("guessed")

    def guess(session: requests.Session, number: int) -> int:
        auth = (name, f"a guess of number {number}")
        return session.get(f"{town.server.url}/auth/token", auth=auth, timeout=30).status_code

    with from_address("127.0.2.1") as guesser, from_address("127.0.2.2") as owner:
        statuses = [guess(guesser, number) for number in range(100)]
        assert statuses.count(401) < 12
        assert set(statuses) == {401, 429}
        right: dict[str, Any] = {"auth": (name, password_of(name)), "timeout": 30}
        assert guesser.get(f"{town.server.url}/auth/token", **right).status_code == 429
        assert owner.get(f"{town.server.url}/auth/token", **right).status_code == 200
