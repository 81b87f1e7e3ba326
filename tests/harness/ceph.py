"""Another S3 server: the gateway of Ceph, in front of a cluster of one monitor and one disk, from Debian's packages."""

from __future__ import annotations

import base64
import shutil
import uuid
from pathlib import Path

from tests.harness.process import Daemon, run
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import free_port

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KMS_KEY = "key-of-the-tests"
_DISK = 16 * 1024**3  # a sparse file
_CONFIG = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind port min = {osd_port}
ms bind port max = {osd_port_end}
keyring = {root}/keyring
mon data = {root}/mon
osd data = {root}/osd
rgw data = {root}/rgw
run dir = {root}
admin socket =
log file =
log to stderr = true
err to stderr = true
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
mon max pg per osd = 1000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd memory target = 939524096
bluestore block size = {disk}
bluestore block create = true
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 64
rgw enable usage log = false
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}={kms_secret}
"""
_RIGHTS = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
    "client.rgw": ("mon", "allow rw", "osd", "allow rwx"),
}


class CephServer(S3Server):
    """A cluster in a directory of its own, on free ports of 127.0.0.1."""

    encryption = ("aws:kms", KMS_KEY)
    confirms_crc32 = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, free_port())
        self._mon_port = free_port()
        self._config = directory / "ceph.conf"
        self._daemons: list[Daemon] = []

    @staticmethod
    def missing() -> list[str]:
        """The programs that this machine has not."""
        return [name for name in PROGRAMS if shutil.which(name) is None]

    def start(self) -> CephServer:
        is_new = not self._config.exists()
        if is_new:
            self._prepare()
        self._run("ceph-mon", "--id", "a", "--foreground")
        if is_new:
            self._add_disk()
        self._run("ceph-osd", "--id", "0", "--foreground")
        if is_new:
            user = ("--uid=tests", "--display-name=tests", f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")
            self._tool("radosgw-admin", "user", "create", *user)
        self._run("radosgw", "--name", "client.rgw", "--foreground").wait_for(self.answers)
        return self

    def kill(self) -> None:
        for daemon in self._daemons:
            daemon.process.kill()
            daemon.process.wait(10)

    def close(self) -> None:
        self.kill()
        self._daemons.clear()

    def _prepare(self) -> None:
        """What a cluster has to have before its monitor begins."""
        root, fsid, osd_port = self.directory, str(uuid.uuid4()), free_port()
        for name in ("mon", "osd", "rgw"):
            (root / name).mkdir(parents=True)
        self._config.write_text(
            _CONFIG.format(
                root=root, fsid=fsid, disk=_DISK, port=self.port, mon_port=self._mon_port,
                osd_port=osd_port, osd_port_end=osd_port + 200,
                kms_key=KMS_KEY, kms_secret=base64.b64encode(bytes(range(32))).decode(),
            )
        )  # fmt: skip
        keyring, monmap = root / "keyring", root / "monmap"
        keyring.touch()
        for name, rights in _RIGHTS.items():
            caps = [word for kind, cap in zip(rights[::2], rights[1::2], strict=True) for word in ("--cap", kind, cap)]
            run(["ceph-authtool", keyring, "--gen-key", "--name", name, *caps])
        run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{self._mon_port}]", monmap])
        self._tool("ceph-mon", "--mkfs", "--id", "a", "--monmap", monmap, "--keyring", keyring)

    def _add_disk(self) -> None:
        disk = str(uuid.uuid4())
        self._tool("ceph", "osd", "new", disk)
        self._tool("ceph-osd", "--id", "0", "--mkfs", "--osd-uuid", disk)
        self._tool("ceph", "osd", "crush", "add", "osd.0", "1", "host=here", "root=default")

    def _tool(self, program: str, *words: str | Path) -> None:
        run([program, "--conf", self._config, *words])

    def _run(self, program: str, *words: str) -> Daemon:
        daemon = Daemon([program, "--conf", self._config, *words], self.directory.with_name(f"{program}.log"))
        self._daemons.append(daemon)
        return daemon
