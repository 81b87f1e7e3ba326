"""HTTP over the control socket of a server."""

from __future__ import annotations

import http.client
from pathlib import Path

from registry.errors import StartupError
from registry.processes.control import connect


class ControlConnection(http.client.HTTPConnection):
    """A connection to the server on a data directory."""

    def __init__(self, data: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._data = data
        self._within = timeout

    def connect(self) -> None:
        self.sock = connect(self._data, self._within)


def is_served(data: Path) -> bool:
    """Whether a server listens there. Raises StartupError where we may not ask."""
    try:
        connect(data, 5.0).close()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise StartupError(f"{data}: give this command as root, or as the user that the server runs as") from error
    except OSError as error:
        raise StartupError(f"{data}: the server cannot be asked: {error}") from error
    return True
