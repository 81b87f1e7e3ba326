"""A Postgres of our own: on a port of its own, with a directory in /tmp, run by a user that is not root."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

from benchmarks.database import as_postgres, postgres_programs
from tests.harness.process import wait_until
from tests.harness.server import free_port

USER, PASSWORD = "shoal", "s3cret"
_NUMBERS = itertools.count(1)


def _children(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


def _has_ended(process: int) -> bool:
    """Whether nothing is left of it but what its parent has not heard yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


class PostgresServer:
    """One server. Every commit waits for the disk, as it does in earnest."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="shoal-postgres-", dir="/tmp"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make the cluster. Its language sorts otherwise than bytes do: our columns have to say how they compare."""
        self.directory.chmod(0o755)
        home, secret = self.directory / "home", self.directory / "password"
        home.mkdir(mode=0o700)
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (self.directory, home, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        options = ("--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8", "--auth=scram-sha-256")
        self._run("initdb", "-D", home, "-U", USER, f"--pwfile={secret}", "--no-sync", *options)
        (home / "postgresql.auto.conf").open("a").write("max_connections = 200\nshared_buffers = 32MB\n")

    def __enter__(self) -> Self:
        try:
            self.create()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it answers."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.directory))
        with (self.directory / "log").open("ab") as log:
            command = self._command("postgres", "-D", self.directory / "home", *where)
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(f"Postgres does not start: {error}\n{self.log()}") from error
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End all its processes as a crash of the machine does.

        The first one is stopped before: it must not start others meanwhile. And it goes last: another Postgres is
        refused while any of them still has the memory that they share.
        """
        assert self._process is not None
        first = self._process.pid
        os.kill(first, signal.SIGSTOP)
        os.waitid(os.P_PID, first, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        backends = _children(first)
        for process in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait_until(lambda: all(map(_has_ended, backends)), "all processes of Postgres have ended")
        os.kill(first, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """End it at once, but in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty database that nobody else uses."""
        name = f"test_{next(_NUMBERS)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-4000:]

    def _command(self, program: str, *arguments: str | Path) -> list[str]:
        folder = postgres_programs()
        assert folder is not None
        return as_postgres(folder / program, *arguments)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(self._command(program, *arguments), cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
