"""The `shoal` command: what it prints and with which status it ends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from registry import __version__
from registry.cli import main
from registry.config import ConfigError, Settings
from registry.errors import StartupError

Served = list[tuple[Settings, Callable[[], Settings]]]


def shoal(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Stands for the server, which would run until it is told to stop, and keeps what it was called with."""
    calls: Served = []

    def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
        calls.append((settings, reload))
        if settings.server.listen[0].port == 1:
            raise StartupError("127.0.0.1:1 is in use; choose another with --listen")
        return 7

    app = ModuleType("registry.app")
    vars(app)["serve"] = serve
    monkeypatch.setitem(sys.modules, "registry.app", app)
    return calls


def test_version() -> None:
    assert shoal("version").stdout == f"shoal {__version__}\n"
    assert json.loads(shoal("version", "--json").stdout) == {"version": __version__}


def test_serve_joins_file_and_flags_and_returns_the_servers_status(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text("[server]\nworkers = 2\nmax_connections = 9\n")
    result = shoal(
        "serve",
        "--config",
        str(file),
        "--data",
        "d",
        "--listen",
        "[::]:5001",
        "--workers",
        "3",
        "--allow-anonymous",
        "--listen",
        "127.0.0.1:5002",
    )
    assert result.exit_code == 7, result.output
    settings, reload = served[0]
    assert (str(settings.data), *map(str, settings.server.listen), settings.server.workers) == (
        "d",
        "[::]:5001",
        "127.0.0.1:5002",
        3,
    )
    assert settings.server.allow_anonymous
    assert settings.server.max_connections == 9

    file.write_text("[server]\nworkers = 2\nmax_connections = 10\n")
    again = reload()
    assert (again.server.workers, again.server.max_connections) == (3, 10)
    file.write_text("[server]\nworkers = false\n")
    with pytest.raises(ConfigError):
        reload()


def test_what_stops_the_start_is_one_plain_line(served: Served) -> None:
    result = shoal("serve", "--listen", "127.0.0.1:1")
    assert result.exit_code == 2
    assert result.stderr == "shoal: 127.0.0.1:1 is in use; choose another with --listen\n"
    result = shoal("serve", "--workers", "99")
    assert result.exit_code == 2
    assert result.stderr == "shoal: --workers: got '99', expected less than or equal to 64\n"
    assert len(served) == 1, "bad settings must not reach the server"


def test_config_check(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text("[server]\nworkers = 2\n")
    assert shoal("config", "check", "--config", str(file)).exit_code == 0
    file.write_text("[server]\nworkers = 0\nlisen = 1\n")
    result = shoal("config", "check", "--config", str(file))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert all(line.startswith(f"shoal: {file}: server.") for line in result.stderr.splitlines())


def test_config_show(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text("[server]\nworkers = 2\n")
    rows = {row["key"]: row for row in json.loads(shoal("config", "show", "--json", "--config", str(file)).stdout)}
    assert rows["server.workers"] == {"key": "server.workers", "value": 2, "origin": f"{file}: server.workers"}
    assert rows["data"] == {"key": "data", "value": "data", "origin": "default"}
    assert "server.workers" in shoal("config", "show").stdout


def test_help_names_every_command() -> None:
    result = shoal("--help")
    assert result.exit_code == 0, result.output
    for command in ("bench", "config", "serve", "version"):
        assert command in result.stdout


def test_the_command_starts_without_the_heavy_modules() -> None:
    heavy = ["aiohttp", "sqlalchemy", "pydantic", "prometheus_client", "structlog", "rich", "benchmarks"]
    code = f"import sys, registry.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
