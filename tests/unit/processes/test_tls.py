"""The certificate of the node: which files are refused, and how a change is taken."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.config import TlsSettings
from registry.errors import StartupError
from registry.processes.tls import Tls, context_of, tls_of
from tests.harness.certificates import Authority, Certificates, exchange
from tests.harness.process import run

pytestmark = pytest.mark.require("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def live(authority: Authority, tmp_path: Path) -> Certificates:
    return authority.server("first", to=tmp_path / "live")


def settings(files: Certificates, client_ca: str | Path = "") -> TlsSettings:
    return TlsSettings(cert=str(files.certificate), key=str(files.key), client_ca=str(client_ca))


def refused(wanted: TlsSettings) -> str:
    with pytest.raises(StartupError) as caught:
        tls_of(wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def served_name(context: ssl.SSLContext, ca: Path) -> str:
    """The CN of the certificate that a client is shown."""
    client, server = socket.socketpair()

    def greet() -> None:
        with context.wrap_socket(server, server_side=True) as greeted:
            greeted.recv(1)

    thread = threading.Thread(target=greet)
    thread.start()
    with ssl.create_default_context(cafile=str(ca)).wrap_socket(client, server_hostname="localhost") as connection:
        shown = connection.getpeercert()
        connection.sendall(b"x")
        thread.join()
    assert shown is not None
    return str(dict(part[0] for part in shown["subject"])["commonName"])  # type: ignore[misc]


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_of(TlsSettings()) is None


def test_files_that_are_not_there(live: Certificates, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    here = settings(live)
    said = "cannot be read: No such file or directory"
    assert refused(here.model_copy(update={"cert": absent})) == f"tls.cert: {absent} {said}"
    assert refused(here.model_copy(update={"key": absent})) == f"tls.key: {absent} {said}"
    assert refused(here.model_copy(update={"client_ca": absent})) == f"tls.client_ca: {absent} {said}"


def test_files_that_hold_something_else(live: Certificates, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\x00 no PEM")
    here = settings(live)
    assert refused(here.model_copy(update={"cert": str(noise)})) == f"tls.cert: {noise} has no certificate in PEM"
    assert refused(here.model_copy(update={"key": str(noise)})) == f"tls.key: {noise} has no private key in PEM"
    assert refused(settings(live, noise)) == f"tls.client_ca: {noise} has no certificate in PEM"
    noise.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "cannot be used" in refused(here.model_copy(update={"key": str(noise)}))


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_key_of_another_certificate(authority: Authority, live: Certificates, tmp_path: Path, kind: str) -> None:
    key = authority.server("other", to=tmp_path / "other").key
    if kind == "rsa":
        run(["openssl", "genpkey", "-algorithm", "RSA", "-out", key])
    told = refused(TlsSettings(cert=str(live.certificate), key=str(key)))
    assert told.startswith(f"tls.key: {key} does not fit the certificate {live.certificate}")


@pytest.mark.parametrize("form", [["pkey"], ["ec"]])
def test_an_encrypted_key(live: Certificates, tmp_path: Path, form: list[str]) -> None:
    key = tmp_path / "encrypted.key"
    run(["openssl", *form, "-in", live.key, "-out", key, "-aes256", "-passout", "pass:wombat"])
    told = refused(TlsSettings(cert=str(live.certificate), key=str(key)))
    assert told.startswith(f"tls.key: {key} is encrypted; write it without a password")


def test_an_expired_certificate_is_a_warning(authority: Authority, tmp_path: Path) -> None:
    old = authority.server("old", days=-1, to=tmp_path / "old")
    with capture_logs() as logs:
        context_of(settings(old))
    (entry,) = logs
    assert (entry["log_level"], entry["certificate"]) == ("warning", str(old.certificate))
    assert "has expired" in entry["event"]


def test_only_ciphers_with_forward_secrecy_and_aead(live: Certificates) -> None:
    context = context_of(settings(live))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-"), cipher
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_is_seen_after_two_seconds(authority: Authority, live: Certificates, tmp_path: Path) -> None:
    clock = Clock()
    tls = Tls(settings(live), clock)
    exchange(authority.server("second", to=tmp_path / "new"), live)
    clock.now = 1.9
    former = tls.context()
    assert served_name(former, authority.ca) == "first"
    clock.now = 2.0
    assert served_name(tls.context(), authority.ca) == "second"
    assert served_name(former, authority.ca) == "first", "who began with the former one keeps it"
    now = tls.context()
    clock.now = 10.0
    assert tls.context() is now, "what has not changed is not loaded again"


def test_a_pair_that_does_not_fit_leaves_the_former_and_is_told_once(
    authority: Authority, live: Certificates, tmp_path: Path
) -> None:
    clock = Clock()
    tls = Tls(settings(live), clock)
    new = authority.server("second", to=tmp_path / "new")
    live.certificate.write_bytes(new.certificate.read_bytes())
    with capture_logs() as logs:
        for clock.now in (2.0, 3.0):
            assert served_name(tls.context(), authority.ca) == "first"
        assert not logs, "the key may be on its way"
        for clock.now in (4.0, 6.0, 8.0):
            assert served_name(tls.context(), authority.ca) == "first"
    (entry,) = logs
    assert entry["log_level"] == "error"
    assert "does not fit" in entry["error"]
    live.key.write_bytes(new.key.read_bytes())
    clock.now = 10.0
    assert served_name(tls.context(), authority.ca) == "second"
    live.key.unlink()
    with capture_logs() as logs:
        tls.look(finished=True)
        tls.look(finished=True)
    assert [entry["log_level"] for entry in logs] == ["error"], "another error is told anew, at once when asked to look"


def test_an_authority_that_is_taken_out_is_trusted_no_longer(
    authority: Authority, live: Certificates, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "another one")
    file = tmp_path / "clients.pem"
    file.write_bytes("# Büro\n".encode() + authority.ca.read_bytes() + other.ca.read_bytes())
    tls = Tls(settings(live, file))
    assert len(tls.context().get_ca_certs()) == 2
    file.write_bytes(other.ca.read_bytes())
    tls.look()
    context = tls.context()
    (trusted,) = context.get_ca_certs()
    assert trusted["subject"] == ((("commonName", "another one"),),)
    assert context.verify_mode == ssl.CERT_OPTIONAL
