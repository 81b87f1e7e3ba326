"""A Postgres to compare with: on a free port, in a directory of its own, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.load.http import LoadError
from benchmarks.processes import free_port

_DEBIAN = Path("/usr/lib/postgresql")
_PATIENCE = 60.0


def postgres_programs() -> Path | None:
    """Where the newest Postgres has its programs; None where there is none."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """The URL of an empty database; every commit waits for the disk, as by default."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="shoal-bench-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        home = folder / "home"
        home.mkdir(mode=0o700)
        _give_to_postgres(folder, home)
        initdb = as_postgres(programs / "initdb", "-D", home, "-U", "shoal", "--auth=trust", "--no-sync")
        subprocess.run(initdb, cwd="/", check=True, capture_output=True)
        command = as_postgres(programs / "postgres", "-D", home, "-h", "127.0.0.1", "-p", port, "-k", folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"postgresql://shoal@127.0.0.1:{port}/postgres"
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _give_to_postgres(folder: Path, home: Path) -> None:
    """Postgres refuses to run as root."""
    folder.chmod(0o755)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        for path in (folder, home):
            os.chown(path, owner.pw_uid, owner.pw_gid)


def as_postgres(program: Path, *arguments: object) -> list[str]:
    """A command that is not run as root."""
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return [*drop, str(program), *map(str, arguments)]


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise LoadError(f"Postgres did not start: {error}") from error
            time.sleep(0.05)
        else:
            return
