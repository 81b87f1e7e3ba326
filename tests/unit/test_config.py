"""Settings: where they come from, which one wins, and what is said of a bad one."""

import pickle
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from registry import config
from registry.config import ConfigError, Settings, load, show
from registry.setting_names import fields
from registry.values import (
    Address,
    parse_address,
    parse_addresses,
    parse_bytes,
    parse_database_url,
    parse_public_url,
    parse_redis_url,
    parse_seconds,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, _ in fields(Settings):
        monkeypatch.delenv(config._variable(path), raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shoal.toml"


def problem(file: Path | None = None, flags: Mapping[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, flags)
    assert len(caught.value.problems) == 1, caught.value.problems
    assert "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


def test_defaults() -> None:
    settings = load()
    assert settings.data == Path("./data")
    assert settings.server.listen == (Address("127.0.0.1", 5000),)
    assert settings.server.workers == 1
    assert settings.server.body_timeout == 60.0
    assert settings.storage.reserve == 256 * 1024 * 1024
    assert settings.uploads.expire_after == 3600.0
    assert settings.collect.grace == 86400.0


def test_the_later_source_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('[server]\nworkers = 2\nidle_timeout = "1m"\nmax_connections = 7\n')
    monkeypatch.setenv("SHOAL_SERVER__WORKERS", "3")
    monkeypatch.setenv("SHOAL_SERVER__IDLE_TIMEOUT", "2m")
    settings = load(file, {"server.workers": "4", "data": Path("elsewhere"), "server.listen": None})
    assert settings.server.workers == 4
    assert settings.server.idle_timeout == 120.0
    assert settings.server.max_connections == 7
    assert settings.data == Path("elsewhere")
    origins = {shown.key: shown.origin for shown in show(file, {"server.workers": "4"})}
    assert origins["server.workers"] == "--workers"
    assert origins["server.idle_timeout"] == "SHOAL_SERVER__IDLE_TIMEOUT"
    assert origins["server.max_connections"] == f"{file}: server.max_connections"
    assert origins["server.listen"] == "default"


def test_settings_given_in_code_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_SERVER__WORKERS", "3")
    assert Settings().server.workers == 1


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:5000", "127.0.0.1", 5000, True),
        ("127.8.9.1:0", "127.8.9.1", 0, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:5000", "::1", 5000, True),
        ("0.0.0.0:5000", "0.0.0.0", 5000, False),
        ("[::]:65535", "::", 65535, False),
        ("registry.example:5000", "registry.example", 5000, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    "value", ["", ":5000", "127.0.0.1", "127.0.0.1:", "::1:5000", "a:65536", "[a]:1", "a b:1", 5000]
)
def test_bad_addresses(value: object) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        (0, 0),
        (2.5, 2.5),
        ("90", 90),
    ],
)
def test_times(value: object, seconds: float) -> None:
    assert parse_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "s", "5 weeks", "-1s", "1e3s", -1, True, float("nan"), float("inf"), None, [1]])
def test_bad_times(value: object) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        parse_seconds(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("256MiB", 256 * 2**20),
        ("1GiB", 2**30),
        ("500MB", 500_000_000),
        ("1.5KiB", 1536),
        ("64kb", 64000),
        ("12", 12),
        (0, 0),
        ("7 B", 7),
    ],
)
def test_sizes(value: object, size: int) -> None:
    assert parse_bytes(value) == size


@pytest.mark.parametrize("value", ["", "MiB", "1XB", "-1", 1.5, "0.3B", True, -5])
def test_bad_sizes(value: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_bytes(value)


@given(st.integers(0, 2**62), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB", "TB"]))
def test_sizes_are_exact(number: int, unit: str) -> None:
    power = {"B": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}[unit[0]]
    assert parse_bytes(f"{number}{unit}") == number * (1024 if "i" in unit else 1000) ** power


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[server]\nworkrs = 3\n", "server.workrs: unknown key; did you mean workers?"),
        ("[serve]\n", "serve: unknown key; did you mean server?"),
        (
            "[bogus]\n",
            "bogus: unknown key; known here: audit, auth, ",
        ),
        ("server = 3\n", "server: got 3, expected a section: [server] on a line of its own"),
        ('[server]\nworkers = "many"\n', "server.workers: got 'many', expected a valid integer"),
        ("[server]\nworkers = 65\n", "server.workers: got 65, expected less than or equal to 64"),
        ("[server]\nworkers = true\n", "server.workers: got True, expected a whole number"),
        ("[server]\nidle_timeout = 0\n", "server.idle_timeout: got 0, expected greater than 0"),
        ('[server]\npublic_url = "shoal.example"\n', "server.public_url: got 'shoal.example', expected http(s)://"),
        ('[server]\ntrusted_proxies = ["10.1.0.0/8"]\n', "10.1.0.0/8 has host bits set"),
        ('[storage]\nkind = "nfs"\n', "storage.kind: got 'nfs', expected 'files' or 's3'"),
        ('[log]\nlevel = "loud"\n', "log.level: got 'loud', expected 'debug', 'info', 'warning' or 'error'"),
        ("data = 5\n", "data: got 5, expected the path of a directory"),
        ("data = ''\n", "data: got '', expected the path of a directory"),
        ("data = [", "not valid TOML: "),
    ],
)
def test_bad_values_in_the_file(file: Path, toml: str, expected: str) -> None:
    file.write_text(toml)
    told = problem(file)
    assert told.startswith(f"{file}: ")
    assert expected in told


def test_a_bad_value_is_told_even_where_another_source_overrides_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[server]\nworkers = 99\n")
    monkeypatch.setenv("SHOAL_SERVER__WORKERS", "2")
    assert "server.workers: got 99" in problem(file)


def test_all_problems_are_told_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[server]\nworkers = 99\nport = 1\n")
    monkeypatch.setenv("SHOAL_LOG__LEVEL", "loud")
    with pytest.raises(ConfigError) as caught:
        load(file, {"server.listen": "x"})
    assert len(caught.value.problems) == 4


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problem(tmp_path / "absent") == f"{tmp_path / 'absent'}: cannot be read: No such file or directory"
    assert "cannot be read: Is a directory" in problem(tmp_path)
    (tmp_path / "latin1").write_bytes(b'data = "\xe4"\n')
    assert "not valid TOML" in problem(tmp_path / "latin1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SHOAL_SERVER__WORKER", "did you mean SHOAL_SERVER__WORKERS?"),
        ("SHOAL_SERVER_LISTEN", "did you mean SHOAL_SERVER__LISTEN?"),
        ("SHOAL_SERVER", "unknown variable"),
    ],
)
def test_unknown_variables(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    told = problem()
    assert told.startswith(f"{name}: unknown variable")
    assert expected in told


def test_bad_values_in_variables_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(None, {"server.listen": "nowhere"}).startswith("--listen: got 'nowhere', expected HOST:PORT")
    monkeypatch.setenv("SHOAL_STORAGE__RESERVE", "lots")
    assert problem().startswith("SHOAL_STORAGE__RESERVE: got 'lots', expected a size")


def test_variables_of_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_DATA", "/srv/shoal")
    monkeypatch.setenv("SHOAL_SERVER__LISTEN", "[::1]:5001")
    monkeypatch.setenv("SHOAL_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    monkeypatch.setenv("SHOAL_SERVER__PUBLIC_URL", "https://shoal.example:8443/")
    monkeypatch.setenv("SHOAL_SERVER__METRICS_LISTEN", "127.0.0.1:9100")
    monkeypatch.setenv("SHOAL_SERVER__ALLOW_ANONYMOUS", "true")
    settings = load()
    assert settings.data == Path("/srv/shoal")
    assert settings.server.listen == (Address("::1", 5001),)
    assert settings.server.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.server.public_url == "https://shoal.example:8443"
    assert settings.server.metrics_listen == Address("127.0.0.1", 9100)
    assert settings.server.allow_anonymous
    monkeypatch.setenv("SHOAL_SERVER__METRICS_LISTEN", "")
    assert load().server.metrics_listen is None


@pytest.mark.parametrize(
    "url",
    ["ftp://a", "https://", "https://a/registry", "https://a?x", "https://u:p@a", "https://a:99999", "http://a\nb", 5],
)
def test_bad_public_urls(url: object) -> None:
    with pytest.raises(ValueError, match="expected http"):
        parse_public_url(url)


def test_the_way_into_a_registry_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who administers from another machine has these; a server that is started there takes them for nothing wrong."""
    monkeypatch.setenv("SHOAL_USER", "alice")
    monkeypatch.setenv("SHOAL_PASSWORD", "secret")
    assert load() == Settings()


def test_several_addresses(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = (Address("127.0.0.1", 5000), Address("::1", 5001))
    file.write_text('[server]\nlisten = ["127.0.0.1:5000", "[::1]:5001"]\n')
    assert load(file).server.listen == both
    shown = {item.key: item.value for item in config.show(file)}
    assert shown["server.listen"] == ["127.0.0.1:5000", "[::1]:5001"]
    monkeypatch.setenv("SHOAL_SERVER__LISTEN", "127.0.0.1:5000, [::1]:5001")
    settings = load()
    assert settings.server.listen == both
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "expected one HOST:PORT at least"),
        (5, "expected HOST:PORT, or a list"),
        (["127.0.0.1:5000", 5], "expected HOST:PORT"),
        ("127.0.0.1:5000,127.0.0.1:5000", "127.0.0.1:5000 is there twice"),
    ],
)
def test_bad_lists_of_addresses(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_addresses(value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"tls.cert": "a"}, "tls.cert and tls.key go together: set both, or neither"),
        ({"tls.key": "a"}, "tls.cert and tls.key go together: set both, or neither"),
        (
            {"tls.client_ca": "a"},
            "tls.client_ca: clients show certificates by TLS only; set tls.cert and tls.key too",
        ),
    ],
)
def test_tls_is_whole_or_absent(section: dict[str, object], told: str) -> None:
    assert problem(None, section) == told
    with pytest.raises(ConfigError, match=re.escape(told)):
        config.show(None, section)


def test_settings_travel_to_another_process_and_cannot_be_changed() -> None:
    settings = load(None, {"server.listen": "[::1]:7"})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.model_dump(mode="json")["server"]["listen"] == ["[::1]:7"]
    with pytest.raises(ValueError, match="frozen"):
        settings.server.workers = 2


def test_secrets_are_hidden() -> None:
    class Account(BaseModel):
        password: SecretStr = SecretStr("wombat")

    assert config._plain(Account(), ("password",)) == "(hidden)"


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", ""),
        ("sqlite", ""),
        ("postgresql://shoal@127.0.0.1:5432/shoal", "postgresql://shoal@127.0.0.1:5432/shoal"),
        ("postgresql:///shoal?host=/run/postgresql", "postgresql:///shoal?host=/run/postgresql"),
    ],
)
def test_databases(value: object, url: str) -> None:
    assert parse_database_url(value) == url


@pytest.mark.parametrize("value", ["mysql://h/shoal", "postgres://h/shoal", "postgresql://h", "postgresql://h:x/s", 5])
def test_bad_databases(value: object) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        parse_database_url(value)


@pytest.mark.parametrize("value", ["http://h", "redis", 5])
def test_bad_redis(value: object) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        parse_redis_url(value)


def test_passwords_in_urls_are_hidden(file: Path) -> None:
    file.write_text(
        '[database]\nurl = "postgresql://shoal:geheim@h/shoal?sslpassword=geheim"\n'
        '[redis]\nurl = "redis://:geheim@h/0"\n'
    )
    shown = {item.key: item.value for item in config.show(file)}
    assert shown["database.url"] == "postgresql://shoal:(hidden)@h/shoal?sslpassword=(hidden)"
    assert shown["redis.url"] == "redis://:(hidden)@h/0"
    file.write_text('[database]\nurl = "mysql://shoal:geheim@h/shoal"\n')
    assert "geheim" not in problem(file)
    assert "expected a URL" in problem(file)
