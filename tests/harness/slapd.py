"""OpenLDAP's slapd from Debian: a directory of a few people, with StartTLS and LDAPS by an authority of the tests."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from tests.harness.certificates import Certificates
from tests.harness.process import Daemon, run
from tests.harness.server import free_port

BASE = "dc=example,dc=org"
REGISTRY, REGISTRY_PASSWORD = f"cn=registry,{BASE}", "of the registry"
PEOPLE, GROUPS = f"ou=people,{BASE}", f"ou=groups,{BASE}"


class SlapdServer:
    """On two free ports of 127.0.0.1, with all that it keeps in one directory."""

    def __init__(self, directory: Path, certificates: Certificates, entries: str) -> None:
        """`entries` is LDIF of what stands below BASE, beside the account of the registry."""
        directory.mkdir()
        (directory / "data").mkdir()
        self.certificates = certificates
        self._directory = directory
        self._port, self._tls_port = free_port(), free_port()
        self.url = f"ldap://127.0.0.1:{self._port}"
        self.tls_url = f"ldaps://127.0.0.1:{self._tls_port}"
        self._configuration = directory / "slapd.conf"
        self._configuration.write_text(_configuration(directory, certificates))
        ldif = directory / "entries.ldif"
        ldif.write_text(f"{_ROOTS}\n{entries}")
        run([_program("slapadd"), "-q", "-f", self._configuration, "-l", ldif])
        self.daemon = self.start()

    def start(self) -> Daemon:
        urls = f"{self.url}/ {self.tls_url}/"
        command: list[str | Path] = [_program("slapd"), "-f", self._configuration, "-h", urls, "-d", "0"]
        self.daemon = Daemon(command, self._directory / "slapd.log")
        self.daemon.wait_for(lambda: self._answers(self._port) and self._answers(self._tls_port))
        return self.daemon

    def _answers(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def close(self) -> None:
        self.daemon.close()


def _configuration(directory: Path, certificates: Certificates) -> str:
    return f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {directory}/slapd.pid
argsfile {directory}/slapd.args
TLSCACertificateFile {certificates.ca}
TLSCertificateFile {certificates.certificate}
TLSCertificateKeyFile {certificates.key}
# as some directories are set: a bind without a password succeeds, whoever is named
allow bind_anon_cred bind_anon_dn
database mdb
suffix "{BASE}"
rootdn "cn=root,{BASE}"
directory {directory}/data
maxsize 10485760
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{REGISTRY}" read by * none
"""


def _program(name: str) -> str:
    return shutil.which(name) or f"/usr/sbin/{name}"


_ROOTS = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: of the tests

dn: {REGISTRY}
objectClass: person
cn: registry
sn: registry
userPassword: {REGISTRY_PASSWORD}

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {GROUPS}
objectClass: organizationalUnit
ou: groups
"""
