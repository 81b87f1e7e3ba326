"""A Shoal server as a process of its own, as an operator would start it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
TAIL_LINES = 40
_PORT_TRIES = 3
_IN_USE = "port {port} of 127.0.0.1 is in use"
_LOOPBACK, _LISTEN = f"{int.from_bytes(bytes((127, 0, 0, 1)), sys.byteorder):08X}", "0A"  # as /proc/net/tcp has them

Value = str | int | float | bool | Sequence[str]
Entry = dict[str, Any]
Table = Mapping[str, Value]
Settings = Mapping[str, Value | Table | Sequence[Table]]


class ServerError(AssertionError):
    """The server did not come up, or did not go down; the message ends with the tail of its log."""


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody has."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    It lies below the range from which the kernel takes ports for outgoing connections, so that a
    server can be stopped and started again on the same port.
    """
    for _ in range(200):
        port = random.randint(15000, 32000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("found no free port on 127.0.0.1 between 15000 and 32000")


def to_toml(settings: Settings) -> str:
    """The settings as TOML; a value that is a mapping becomes a section, a list of mappings one of tables."""
    plain, sections = [], []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            sections.append(_section(f"[{key}]", value))
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            sections += [_section(f"[[{key}]]", table) for table in value if isinstance(table, Mapping)]
        else:
            plain.append(f"{key} = {json.dumps(value)}")
    return "\n".join([*plain, *sections, ""])


def _section(header: str, values: Table) -> str:
    return "\n".join(["", header, *(f"{name} = {json.dumps(item)}" for name, item in values.items())])


def _entry(line: str) -> Entry:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        entry = None
    return entry if isinstance(entry, dict) else {"level": "text", "event": line}


class ShoalServer:
    """`python -m registry serve` on a free port of 127.0.0.1.

    `settings` (`tls` is a section of it) is written to a TOML file, `env` is added to the environment, `args` to the
    command.
    Use it as a context manager, or call start() and close().
    """

    def __init__(
        self,
        data: Path,
        *,
        workers: int | None = None,
        settings: Settings | None = None,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        port: int | None = None,
        prefix: Sequence[str] = (),
        ready_timeout: float = 30.0,
        tls: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self._tls = tls is not None
        self._may_move = port is None
        self._tls = tls is not None
        self._listen_on(port or free_port())
        self.log = data.with_name(data.name + ".log")
        self._output = data.with_name(data.name + ".out")
        self._config = data.with_name(data.name + ".toml")
        self._settings = {**(settings or {}), "tls": tls} if tls else settings
        self._workers = workers
        self._env = dict(env or {})
        self._args = list(args)
        self._prefix = list(prefix)
        self._ready_timeout = ready_timeout
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The whole command line; `prefix` (strace, nsenter ...) comes first."""
        command = [*self._prefix, sys.executable, "-m", "registry", "serve"]
        command += ["--data", str(self.data), "--listen", self.host]
        if self._settings is not None:
            command += ["--config", str(self._config)]
        if self._workers is not None:
            command += ["--workers", str(self._workers)]
        return command + self._args

    def printed(self) -> str:
        """All that the server wrote to stdout, over all starts."""
        return self._output.read_text(errors="replace")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was never started"
        return self._process

    @property
    def pid(self) -> int:
        """The server's own process, also behind a `prefix` that starts it as a child (strace does)."""
        started = Path("/proc", str(self.process.pid))
        if self.process.poll() is None and (started / "cmdline").read_text().partition("\0")[0] != sys.executable:
            children = (started / "task" / started.name / "children").read_text().split()
            if children:
                return int(children[0])
        return self.process.pid

    def start(self) -> Self:
        """Starts the process and waits until /readyz answers 200.

        A port of our choice may have been taken by somebody else since it was found free: then, at the first start
        only, another one is tried.
        """
        tries = _PORT_TRIES if self._may_move else 1
        for tries_left in reversed(range(tries)):
            logged = len(self._log_bytes())
            self.spawn()
            try:
                self.wait_ready()
                break
            except ServerError:
                said = self._log_bytes()[logged:].decode(errors="replace")
                if not tries_left or _IN_USE.format(port=self.port) not in said:
                    raise
                os.truncate(self.log, logged)  # a test that looks for complaints finds none
                self._listen_on(free_port())
        self._may_move = False  # clients know the port by now
        return self

    def spawn(self) -> None:
        """Starts the process and does not wait."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if self._settings is not None:
            self._config.write_text(to_toml(self._settings))
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}
        with self.log.open("ab") as log, self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=inherited | self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Returns when /readyz answers 200; raises ServerError when it does not in time."""
        deadline = time.monotonic() + self._ready_timeout
        answer = "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(self._story(f"ended with status {self.process.returncode} before it was ready"))
            answer = self._ask_ready() if self._listens() else "nobody of ours listens"
            if answer == "200":
                return
            time.sleep(0.02)
        story = self._story(f"was not ready after {self._ready_timeout:g} s (last /readyz: {answer})")
        self.close()
        raise ServerError(story)

    def stop(self, timeout: float = 30.0) -> int:
        """Sends SIGTERM and waits; returns the exit status. Raises ServerError if it does not end in time."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            story = self._story(f"did not end within {timeout:g} s of SIGTERM")
            self.close()
            raise ServerError(story) from None

    def kill(self) -> None:
        """Sends SIGKILL to the process alone; what becomes of its workers is its own affair."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def restart(self) -> Self:
        """Starts again on the same data and port; a server that still runs is stopped first."""
        if self.process.poll() is None:
            self.stop()
        return self.start()

    def close(self) -> None:
        """Ends everything that was started here, whatever state it is in."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def log_text(self) -> str:
        """All that the server wrote to stderr, over all starts."""
        return self._log_bytes().decode(errors="replace")

    def logged(self) -> list[Entry]:
        """The lines of the log; one that is no JSON object (a traceback) becomes an entry of level "text"."""
        return [_entry(line) for line in self.log_text().split("\n") if line.strip()]

    def wait_for_log(self, wanted: Callable[[Entry], bool], timeout: float = 30.0) -> Entry:
        """The first line of the log that is wanted; raises ServerError when it does not come in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for entry in self.logged():
                if wanted(entry):
                    return entry
            time.sleep(0.05)
        raise ServerError(self._story(f"did not log what was waited for within {timeout:g} s"))

    def complaints(self) -> list[Entry]:
        """What no test should see in the log: errors of the server itself, and text that is no log line."""
        return [entry for entry in self.logged() if entry.get("level") in ("error", "critical", "text")]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.process.poll() is None:
                self.stop()
        finally:
            self.close()

    def _listen_on(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"{'https' if self._tls else 'http'}://{self.host}"

    def _log_bytes(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""

    def _listens(self) -> bool:
        """Whether it is this process that would be asked: where the port was taken, another Shoal may answer there."""
        own = Path("/proc", str(self.pid))
        at = f"{_LOOPBACK}:{self.port:04X}"
        try:
            sockets = [line.split() for line in (own / "net" / "tcp").read_text().splitlines()]
            listening = {f"socket:[{words[9]}]" for words in sockets if words[1] == at and words[3] == _LISTEN}
            return any(str(file.readlink()) in listening for file in (own / "fd").iterdir())
        except OSError:  # it ended meanwhile, or closed a file
            return False

    def _ask_ready(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        if self._tls:
            anything = ssl._create_unverified_context()  # noqa: S323 - some tests bring an expired certificate
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=anything)
        try:
            connection.request("GET", "/readyz")
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def _story(self, what: str) -> str:
        lines = self.log_text().splitlines()[-TAIL_LINES:]
        if self._output.exists():
            lines = self._output.read_text(errors="replace").splitlines()[-TAIL_LINES:] + lines
        tail = "\n".join(lines) or "(empty)"
        return f"`{' '.join(self.command)}` {what}. The end of its output:\n{tail}"
