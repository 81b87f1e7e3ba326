"""A round-robin front before several nodes: nginx, as operators have it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.process import Daemon
from tests.harness.server import free_port

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_CONFIGURATION = """
worker_processes 1;
daemon off;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {temporary}
    upstream nodes {{ {nodes} }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""


class Front:
    """nginx on a free port of 127.0.0.1; a node that does not answer is left out for a second."""

    def __init__(self, directory: Path, ports: Sequence[int]) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._port = port
        directory.mkdir()
        nodes = " ".join(f"server 127.0.0.1:{node} max_fails=1 fail_timeout=1s;" for node in ports)
        temporary = " ".join(f"{name}_temp_path {directory}/{name};" for name in _TEMPORARY)
        self._file = directory / "nginx.conf"
        text = _CONFIGURATION.format(directory=directory, nodes=nodes, temporary=temporary, port=port)
        self._file.write_text(text)
        self._daemon: Daemon | None = None

    def __enter__(self) -> Self:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        log = self._file.with_name("log")
        self._daemon = Daemon([program, "-c", str(self._file), "-e", str(log)], log)
        self._daemon.wait_for(self._answers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._daemon is not None
        self._daemon.close()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
