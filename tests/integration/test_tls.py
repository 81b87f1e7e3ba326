"""Clients that connect by TLS: what they get, what is refused, and the change of a certificate."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness.certificates import Authority, Certificates, exchange
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, random_bytes, small_image
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer, free_port

pytestmark = pytest.mark.require("openssl")

BIG = 48 * 1024 * 1024
HSTS = "Strict-Transport-Security"
YEAR = "max-age=31536000"

StartTls = Callable[..., ShoalServer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def live(authority: Authority, tmp_path: Path) -> Certificates:
    return authority.server("first", to=tmp_path / "live")


@pytest.fixture
def start_tls(start_shoal: StartShoal, live: Certificates) -> StartTls:
    """Starts a server with the certificate `live`."""

    def start(client_ca: str | Path = "", **options: Any) -> ShoalServer:
        files = {"cert": str(live.certificate), "key": str(live.key), "client_ca": str(client_ca)}
        settings = {"log": {"format": "json"}, **options.pop("settings", {})}
        return start_shoal(tls=files, settings=settings, **options)

    return start


@pytest.fixture(scope="module")
def shared(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    """A server with two workers for tests that leave it as it is. It must not log errors."""
    folder = tmp_path_factory.mktemp("shared-tls")
    files = authority.server("shared", to=folder / "live")
    tls = {"cert": str(files.certificate), "key": str(files.key)}
    with ShoalServer(folder / "data", workers=2, tls=tls, settings={"log": {"format": "json"}}) as server:
        yield server
    assert not server.complaints()


def connect(server: ShoalServer, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def shown_name(server: ShoalServer, authority: Authority) -> str:
    """The CN of the certificate that a new connection is shown."""
    with connect(server, ssl.create_default_context(cafile=str(authority.ca))) as connection:
        shown = connection.getpeercert()
    assert shown is not None
    return str(dict(part[0] for part in shown["subject"])["commonName"])  # type: ignore[misc]


def all_show(server: ShoalServer, authority: Authority, name: str) -> Callable[[], bool]:
    """Whether several connections in a row, which meet more than one worker, are shown that name."""
    return lambda: all(shown_name(server, authority) == name for _ in range(12))


@pytest.mark.parametrize("workers", [1, 2])
def test_push_and_pull(start_tls: StartTls, authority: Authority, workers: int) -> None:
    server = start_tls(workers=workers)
    assert server.printed().startswith(f"Shoal listens on  https://{server.host}\n")
    with RegistryClient(server.url, authority.ca) as client:
        client.push_image("by-tls", small_image(), "1")
        client.check_image("by-tls", small_image(), "1")
    assert server.stop() == 0
    assert not server.complaints()


def test_every_answer_says_to_stay(shared: ShoalServer, authority: Authority) -> None:
    with RegistryClient(shared.url, authority.ca) as client:
        digest = client.push_blob("stay", b"x" * 1000)
        blob = f"/v2/stay/blobs/{digest}"
        for method, path, status in (
            ("GET", "/v2/", 200),
            ("GET", blob, 200),
            ("HEAD", blob, 200),
            ("GET", "/v2/stay/manifests/none", 404),
            ("GET", "/healthz", 200),
            ("POST", "/v2/stay/blobs/uploads/", 202),
        ):
            answer = client.request(method, path, want=status)
            assert answer.headers[HSTS] == YEAR, (method, path)
            if "Location" in answer.headers:
                assert urlsplit(urljoin(answer.url, answer.headers["Location"])).scheme == "https"


def test_what_is_no_http_is_told_to_stay_as_well(shared: ShoalServer, authority: Authority) -> None:
    with connect(shared, ssl.create_default_context(cafile=str(authority.ca))) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        head = connection.recv(1000)
    assert head.startswith(b"HTTP/1.0 400")
    assert f"{HSTS}: {YEAR}".encode() in head


def test_behind_a_proxy_only_a_trusted_one_says_https(start_shoal: StartShoal) -> None:
    for trusted, said in ((["127.0.0.0/8"], YEAR), (["10.0.0.0/8"], None)):
        server = start_shoal(settings={"server": {"trusted_proxies": trusted, "allow_anonymous": True}})
        with RegistryClient(server.url) as client:
            digest = client.push_blob("a", b"blob")
            for path in ("/v2/", f"/v2/a/blobs/{digest}"):
                assert client.request("GET", path, headers={"X-Forwarded-Proto": "https"}).headers.get(HSTS) == said
                assert HSTS not in client.request("GET", path).headers


def test_a_large_blob_its_ranges_and_its_cut(start_tls: StartTls, authority: Authority) -> None:
    server = start_tls()
    content = random_bytes(BIG, 7)
    with RegistryClient(server.url, authority.ca) as client:
        digest = client.push_blob("large", content)
        path = f"/v2/large/blobs/{digest}"
        assert client.blob("large", digest) == content
        middle = client.request("GET", path, headers={"Range": "bytes=1000000-3000000"}, want=206)
        assert middle.content == content[1_000_000:3_000_001]
        parts = client.request("GET", path, headers={"Range": "bytes=0-9, 2000000-2999999"}, want=206).content
        assert content[:10] in parts
        assert content[2_000_000:3_000_000] in parts
        (file,) = (server.data / "blobs").rglob(digest.partition(":")[2])
        os.truncate(file, BIG // 2)
        answer = client.request("GET", path, want=200, stream=True)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = answer.content
    server.wait_for_log(lambda entry: "too short" in str(entry.get("event")))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("lowest", "ciphers"),
    [(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"), (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0")],
)
def test_old_versions_and_ciphers_are_refused(shared: ShoalServer, lowest: ssl.TLSVersion, ciphers: str) -> None:
    old = ssl._create_unverified_context()  # noqa: S323 - it is the server that refuses
    old.set_ciphers(ciphers)
    old.minimum_version = old.maximum_version = lowest
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(shared, old)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_versions_and_what_is_agreed(shared: ShoalServer, authority: Authority, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(shared, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert connection.compression() is None
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_plain_http_is_told_what_to_write(shared: ShoalServer) -> None:
    with RegistryClient(f"http://{shared.host}") as client:
        answer = client.request("GET", "/v2/", want=400)
        assert answer.text == "This port speaks HTTPS: write https:// in place of http://\n"
        assert HSTS not in answer.headers
        uploaded = client.request("POST", "/v2/a/blobs/uploads/", data=b"x" * 20_000, want=400)
        assert uploaded.text == answer.text


def test_noise_is_cut_and_hardly_logged(start_tls: StartTls, authority: Authority) -> None:
    server = start_tls()
    for noise in (b"\x00\x01\x02", b"\x16\x03\x01\x00\x05hello", b"\xff" * 1000, b"") * 20:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection, suppress(OSError):
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) in (b"", b"\x15\x03\x01\x00\x02\x02\x46")
    assert shown_name(server, authority) == "first"
    assert server.stop() == 0
    assert len([entry for entry in server.logged() if "handshake" in str(entry.get("event"))]) <= 2
    assert not server.complaints()


def test_who_says_nothing_is_closed(start_tls: StartTls, authority: Authority) -> None:
    server = start_tls(settings={"server": {"idle_timeout": "1s", "max_connections": 8}})
    with ExitStack() as opened:
        started = time.monotonic()
        silent = [opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(6)]
        halfway = [opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(2)]
        for connection in halfway:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        time.sleep(0.3)
        beyond = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
        assert beyond.recv(1) == b"", "all connections are taken"
        assert time.monotonic() - started < 0.9
        for connection in silent + halfway:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert 0.8 < time.monotonic() - started < 5
    wait_until(lambda: shown_name(server, authority) == "first", "there is room again", 10)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_certificate_while_a_pull_runs(
    start_tls: StartTls, authority: Authority, live: Certificates, tmp_path: Path, workers: int
) -> None:
    server = start_tls(workers=workers)
    content = random_bytes(BIG, 9)
    with RegistryClient(server.url, authority.ca) as client:
        digest = client.push_blob("long", content)
        answer = client.request("GET", f"/v2/long/blobs/{digest}", want=200, stream=True)
        received = answer.raw.read(1_000_000)
        exchange(authority.server("second", to=tmp_path / "new"), live)
        wait_until(all_show(server, authority, "second"), "every worker shows the new certificate", 15)
        received += answer.raw.read()
        assert received == content
        client.request("GET", "/healthz", want=200)
    assert not server.complaints()


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_looks_at_once_and_a_bad_pair_changes_nothing(
    start_tls: StartTls, authority: Authority, live: Certificates, tmp_path: Path, workers: int
) -> None:
    server = start_tls(workers=workers)
    new = authority.server("second", to=tmp_path / "new")
    live.key.write_bytes(new.key.read_bytes())
    os.kill(server.pid, signal.SIGHUP)
    entry = server.wait_for_log(lambda entry: "the former stays" in str(entry.get("event")), 10)
    assert entry["level"] == "error"
    assert "does not fit" in entry["error"]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        assert shown_name(server, authority) == "first"
    # once a process: the node looks too
    told = [entry for entry in server.logged() if "the former stays" in str(entry.get("event"))]
    assert len(told) <= (1 if workers == 1 else workers + 1)
    live.certificate.write_bytes(new.certificate.read_bytes())
    os.kill(server.pid, signal.SIGHUP)
    wait_until(all_show(server, authority, "second"), "the new pair is shown", 10)


def test_a_worker_that_finds_no_certificate_comes_back_later(
    start_tls: StartTls, authority: Authority, live: Certificates
) -> None:
    server, serving = start_tls(workers=2), set()

    def both_serve() -> bool:
        with RegistryClient(server.url, authority.ca) as client:
            serving.add(client.request("GET", "/healthz").headers["X-Request-Id"].partition("-")[0])
        return len(serving) == 2

    wait_until(both_serve, "both workers serve")
    key = live.key.read_bytes()
    live.key.unlink()
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    told = server.wait_for_log(lambda entry: entry.get("event") == "the worker cannot start")
    assert "No such file" in told["error"]
    assert shown_name(server, authority) == "first", "the other worker serves"
    live.key.write_bytes(key)

    def two_workers() -> bool:
        return len(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()) == 2

    wait_until(two_workers, "the worker is there again", 20)
    assert all(entry["level"] != "text" for entry in server.logged())


def test_an_expired_certificate_serves_with_a_warning(start_shoal: StartShoal, authority: Authority) -> None:
    old = authority.server("old", days=-1)
    server = start_shoal(tls={"cert": str(old.certificate), "key": str(old.key)}, settings={"log": {"format": "json"}})
    assert [entry["level"] for entry in server.logged() if "has expired" in str(entry["event"])] == ["warning"]
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(server, ssl.create_default_context(cafile=str(authority.ca)))


def test_files_that_cannot_be_used_stop_the_start(start_shoal: StartShoal, authority: Authority) -> None:
    one, other = authority.server("one"), authority.server("other")
    with pytest.raises(AssertionError, match=f"shoal: tls.key: {other.key} does not fit the certificate"):
        start_shoal(tls={"cert": str(one.certificate), "key": str(other.key)})


def ask_with(server: ShoalServer, authority: Authority, shown: Certificates | None) -> bytes:
    """The first line of the answer to a client that shows a certificate."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    with connect(server, context) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return connection.recv(100).partition(b"\r\n")[0]


def test_certificates_of_clients(start_tls: StartTls, authority: Authority, tmp_path: Path) -> None:
    clients, strangers = Authority(tmp_path / "clients"), Authority(tmp_path / "strangers")
    server = start_tls(clients.ca)
    assert ask_with(server, authority, None) == b"HTTP/1.1 200 OK"
    assert ask_with(server, authority, clients.client("alice", "/CN=alice/OU=builders")) == b"HTTP/1.1 200 OK"
    for refused in (strangers.client("mallory", "/CN=alice"), authority.client("bob", "/CN=bob")):
        with suppress(ssl.SSLError, ConnectionError):
            assert ask_with(server, authority, refused) == b"", "no answer"
    told = server.wait_for_log(lambda entry: entry.get("event") == "a TLS handshake failed")
    assert told["error"] == "CERTIFICATE_VERIFY_FAILED"
    assert not server.complaints()


def test_all_addresses_speak_tls(start_tls: StartTls, authority: Authority) -> None:
    other = f"127.0.0.2:{free_port()}"
    server = start_tls(args=["--listen", other], workers=2)
    with RegistryClient(f"https://{other}", authority.ca) as client:
        assert client.push_blob("a", b"other") == digest_of(b"other")
    assert f"https://{server.host}, https://{other}" in server.printed()


def test_a_pull_ends_within_the_drain(start_tls: StartTls, authority: Authority) -> None:
    server = start_tls()
    content = random_bytes(BIG, 11)
    with RegistryClient(server.url, authority.ca) as client:
        digest = client.push_blob("drain", content)
        answer = client.request("GET", f"/v2/drain/blobs/{digest}", want=200, stream=True)
        received = answer.raw.read(1_000_000)
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_log(lambda entry: str(entry.get("event")).startswith("stopping"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        received += answer.raw.read()
        assert received == content
    assert server.process.wait(20) == 0
