"""`shoal tls`: an authority, and certificates that openssl finds nothing to say about."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from registry.cli import main
from registry.config import TlsSettings
from registry.processes.tls import tls_of
from tests.harness.process import run


def shoal_tls(*words: str | Path, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["tls", *(str(word) for word in words)])
    assert done.exit_code == status, done.output
    return done


def reported(*words: str | Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(shoal_tls(*words, "--json").stdout)
    return answer


def loaded(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


@pytest.mark.require("openssl")
def test_openssl_takes_what_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "tls"
    report = reported("init", "--dir", directory, "--host", "shoal.example", "--host", "127.0.0.1", "--host", "::1")
    shoal_tls("client", "alice", "--dir", directory, "--group", "builders", "--group", "admins")
    verify = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", report["ca"]]
    for host in ("-verify_hostname shoal.example", "-verify_ip 127.0.0.1", "-verify_ip ::1"):
        run([*verify, "-purpose", "sslserver", *host.split(), report["cert"]])
    run([*verify, "-purpose", "sslserver", "-verify_hostname", "other.example", report["cert"]], fails=True)
    run([*verify, "-purpose", "sslclient", directory / "alice.crt"])
    run([*verify, "-purpose", "sslclient", report["cert"]], fails=True)
    run([*verify, "-purpose", "sslserver", directory / "alice.crt"], fails=True)
    assert tls_of(TlsSettings(cert=report["cert"], key=report["key"], client_ca=report["ca"])) is not None
    assert loaded(directory / "alice.crt").subject.rfc4514_string() == "CN=alice,OU=admins,OU=builders"


def test_what_the_certificates_may(tmp_path: Path) -> None:
    report = reported("init", "--dir", tmp_path)
    ca, server = loaded(Path(report["ca"])), loaded(Path(report["cert"]))
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature
    assert server.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert server.not_valid_after_utc - server.not_valid_before_utc < timedelta(days=397)
    assert server.not_valid_before_utc < datetime.now(UTC)
    assert {"localhost", "127.0.0.1", "::1"} <= set(report["hosts"])
    assert (Path(report["ca"]).parent / "ca.key").stat().st_mode & 0o777 == 0o600
    assert Path(report["key"]).stat().st_mode & 0o777 == 0o600


def test_force_renews_the_server_by_the_same_authority(tmp_path: Path) -> None:
    first = reported("init", "--dir", tmp_path, "--host", "a.example", "--host", "10.0.0.1")
    ca, certificate = Path(first["ca"]).read_bytes(), Path(first["cert"]).read_bytes()
    told = shoal_tls("init", "--dir", tmp_path, status=2).stderr
    assert told == f"shoal: {tmp_path / 'server.crt'} is there; --force renews it with the same authority\n"
    assert Path(first["cert"]).read_bytes() == certificate
    again = reported("init", "--dir", tmp_path, "--force")
    assert (again["hosts"], again["new_ca"]) == (["a.example", "10.0.0.1"], False)
    assert Path(first["ca"]).read_bytes() == ca
    assert Path(first["cert"]).read_bytes() != certificate
    loaded(Path(again["cert"])).verify_directly_issued_by(loaded(Path(first["ca"])))
    assert reported("init", "--dir", tmp_path, "--force", "--host", "b.example")["hosts"] == ["b.example"]


def test_a_client_is_not_replaced_unless_told_so(tmp_path: Path) -> None:
    assert "shoal tls init makes one" in shoal_tls("client", "alice", "--dir", tmp_path, status=2).stderr
    shoal_tls("init", "--dir", tmp_path)
    shoal_tls("client", "alice", "--dir", tmp_path)
    assert "alice.crt is there; --force replaces it" in shoal_tls("client", "alice", "--dir", tmp_path, status=2).stderr
    shoal_tls("client", "alice", "--dir", tmp_path, "--force")


@pytest.mark.parametrize("name", ["ca", "server", "a/b", "", "..", "a" * 65, "ä"])
def test_names_that_no_client_has(tmp_path: Path, name: str) -> None:
    shoal_tls("init", "--dir", tmp_path)
    assert "shoal: NAME: got" in shoal_tls("client", "--dir", tmp_path, "--", name, status=2).stderr


@pytest.mark.parametrize("host", ["a:5000", "https://a", "", "a b", "-a", "a..b", "fe80::1%eth0"])
def test_hosts_that_are_none(tmp_path: Path, host: str) -> None:
    assert "shoal: --host: got" in shoal_tls("init", "--dir", tmp_path, "--host", host, status=2).stderr
    assert not list(tmp_path.iterdir())


def test_an_authority_that_cannot_be_used(tmp_path: Path) -> None:
    shoal_tls("init", "--dir", tmp_path)
    other = tmp_path / "other"
    shoal_tls("init", "--dir", other)
    (tmp_path / "ca.key").write_bytes((other / "ca.key").read_bytes())
    assert "does not fit the certificate" in shoal_tls("init", "--dir", tmp_path, "--force", status=2).stderr
    (tmp_path / "ca.key").write_text("nonsense")
    assert "are no certificate and key" in shoal_tls("init", "--dir", tmp_path, "--force", status=2).stderr
    (tmp_path / "ca.key").unlink()
    assert "ca.key cannot be read" in shoal_tls("init", "--dir", tmp_path, "--force", status=2).stderr


def test_the_words_name_every_place(tmp_path: Path) -> None:
    told = shoal_tls("init", "--dir", tmp_path, "--host", "shoal.example").stdout
    for place in (
        f'cert = "{tmp_path}/server.crt"',
        f'key = "{tmp_path}/server.key"',
        "/etc/docker/certs.d/shoal.example:5000/ca.crt",
        "/etc/containers/certs.d/shoal.example:5000/ca.crt",
        "/etc/containerd/certs.d/shoal.example:5000/hosts.toml",
        "update-ca-certificates",
    ):
        assert place in told
    assert "A new authority" in told
    assert re.search(r"The authority is the one of before", shoal_tls("init", "--dir", tmp_path, "--force").stdout)
    assert "client_ca = " in shoal_tls("client", "alice", "--dir", tmp_path).stdout
