"""Settings: a TOML file, then SHOAL_* environment variables, then flags; the later one wins.

Each source is checked alone, so that an error names the file and key, the variable or the flag that holds
the bad value, even where another source would have overridden it.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr
from pydantic import ValidationError as Invalid
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from registry import signature_settings
from registry.auth_settings import AuthSettings
from registry.auth_settings import problems as auth_problems
from registry.replication_settings import ReplicationSettings
from registry.replication_settings import problems as replication_problems
from registry.setting_names import fields, is_secret, nearest, siblings
from registry.setting_types import PositiveSeconds, Seconds, Secret, Section
from registry.signature_settings import SignatureSettings
from registry.values import (
    Address,
    parse_address,
    parse_addresses,
    parse_bytes,
    parse_database_url,
    parse_networks,
    parse_public_url,
    parse_redis_url,
    without_password,
)

__all__ = ["Address", "ConfigError", "Settings", "ShownSetting", "load", "show"]

ENV_PREFIX = "SHOAL_"
ENV_DELIMITER = "__"
_OF_COMMANDS = ("SHOAL_USER", "SHOAL_PASSWORD")  # with --server


class ConfigError(Exception):
    """Settings that cannot be used. Each of `problems` is one line that says what is wrong and what is expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _whole_number(value: object) -> object:
    # pydantic would take true for 1
    if isinstance(value, bool):
        raise ValueError("expected a whole number")
    return value


def _directory(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("expected the path of a directory")
    return value


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


_AsText = PlainSerializer(str, when_used="json")
ListenAddress = Annotated[Address, PlainValidator(parse_address), _AsText]
ListenAddresses = Annotated[
    tuple[Address, ...],
    PlainValidator(parse_addresses),
    PlainSerializer(lambda addresses: [str(address) for address in addresses], when_used="json"),
]
PublicUrl = Annotated[str, PlainValidator(parse_public_url)]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    PlainValidator(parse_networks),
    PlainSerializer(lambda networks: [str(network) for network in networks], when_used="json"),
]
# A URL may hold a password, which is not shown.
DatabaseUrl = Annotated[str, PlainValidator(parse_database_url), "password"]
RedisUrl = Annotated[str, PlainValidator(parse_redis_url), "password"]
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Count = Annotated[int, BeforeValidator(_whole_number)]


def _tables(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("expected policies in the file of settings, each under a line [[signatures]]")
    return value


Policies = Annotated[tuple[SignatureSettings, ...], BeforeValidator(_tables)]


class ServerSettings(Section):
    """How clients reach the registry, and how long it waits for them (times in seconds)."""

    listen: ListenAddresses = (Address("127.0.0.1", 5000),)
    workers: Count = Field(default=1, ge=1, le=64)
    allow_anonymous: bool = False
    public_url: Annotated[PublicUrl | None, BeforeValidator(_absent_if_empty)] = None
    trusted_proxies: Networks = ()
    metrics_listen: Annotated[ListenAddress | None, BeforeValidator(_absent_if_empty)] = None
    # running transfers get this long to end after SIGTERM
    drain_timeout: Seconds = 30.0
    idle_timeout: PositiveSeconds = 75.0
    # a transfer ends when no byte moved to or from the client for this long
    body_timeout: PositiveSeconds = 60.0
    max_connections: Count = Field(default=4096, ge=1)


class TlsSettings(Section):
    """Files in PEM: the server's certificate (its own one first), its key, and the authorities of clients."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""

    @property
    def is_on(self) -> bool:
        """Whether clients connect by TLS."""
        return bool(self.cert)


class StorageSettings(Section):
    """Where blobs are kept: files in the data directory, or objects in a bucket."""

    kind: Literal["files", "s3"] = "files"
    # new uploads are refused while less disk than this is free
    reserve: Bytes = 256 * 1024**2
    endpoint: str = ""
    bucket: str = ""
    region: str = "us-east-1"
    path_style: bool = True
    prefix: str = ""
    ca_file: str = ""
    access_key: str = ""
    secret_key: Secret = SecretStr("")
    # server-side encryption, and the key where the store's own key service has several
    sse: Literal["", "AES256", "aws:kms"] = ""
    kms_key: str = ""
    proxy: str = ""
    # whether clients fetch blobs from the store by themselves; "auto": all but those in stream_networks
    redirect: Literal["always", "never", "auto"] = "never"
    stream_networks: Networks = ()
    # disk for blobs of the bucket that are streamed, so that hot ones are read there once; 0: none
    cache: Bytes = 0


class DatabaseSettings(Section):
    """Where the metadata is kept: a Postgres, or (with an empty url) SQLite in the data directory."""

    url: DatabaseUrl = ""


class RedisSettings(Section):
    """What several nodes share for a short time."""

    url: RedisUrl = ""


class UploadSettings(Section):
    """Uploads that nobody finishes."""

    expire_after: PositiveSeconds = 3600.0


class CollectSettings(Section):
    """The collector of blobs that nothing needs."""

    interval: PositiveSeconds = 600.0
    grace: Seconds = 86400.0
    # objects that nothing needs stay this long: a running transfer, or an address that was given out, may use them
    leftovers: PositiveSeconds = 3600.0

    @property
    def keep_plans_every(self) -> float:
        """Seconds between two notes that an object is still being made, which else would be left over."""
        return min(self.leftovers / 4, 60.0)


class LimitSettings(Section):
    """How much clients may ask at once; 0: without limit."""

    # requests a second that go on for ever, and how many may come at once
    account_rate: Annotated[float, Field(ge=0)] = 0.0
    address_rate: Annotated[float, Field(ge=0)] = 0.0
    burst: Count = Field(default=100, ge=1)
    # uploads that an account (an address, where nobody has logged in) sends at the same time
    uploads: Count = Field(default=0, ge=0)


class AuditSettings(Section):
    """The log of who did what."""

    keep: Bytes = 10 * 1024**3


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class Settings(BaseSettings):
    """All that can be set. `load` reads every source; `Settings(...)` itself takes only what it is given."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        enable_decoding=False,
    )

    data: Annotated[Path, BeforeValidator(_directory)] = Path("./data")
    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    uploads: UploadSettings = UploadSettings()
    collect: CollectSettings = CollectSettings()
    limits: LimitSettings = LimitSettings()
    audit: AuditSettings = AuditSettings()
    signatures: Policies = ()
    log: LogSettings = LogSettings()
    auth: AuthSettings = AuthSettings()
    replication: ReplicationSettings = ReplicationSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One line of `shoal config show`: the dotted key, its value in plain JSON types, and where that came from."""

    key: str
    value: object
    origin: str


def load(config: Path | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read every source and check the result.

    `config` is the TOML file, if any; `overrides` are the flags: dotted key (`server.listen`) to value, None
    where a flag was not given. Raises ConfigError with every problem found.
    """
    settings = _merged(_sources(config, overrides or {}))
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    _check_tls(settings.tls)
    _check_storage(settings.storage)
    problems = [*auth_problems(settings.auth), *signature_settings.problems(settings.signatures)]
    problems += replication_problems(settings.replication)
    if problems:
        raise ConfigError(*problems)


def _check_tls(tls: TlsSettings) -> None:
    if bool(tls.cert) != bool(tls.key):
        raise ConfigError("tls.cert and tls.key go together: set both, or neither")
    if tls.client_ca and not tls.cert:
        raise ConfigError("tls.client_ca: clients show certificates by TLS only; set tls.cert and tls.key too")


def _check_storage(storage: StorageSettings) -> None:
    if storage.kind == "s3" and not storage.bucket:
        raise ConfigError('storage.bucket: storage.kind = "s3" needs the name of a bucket that is there')
    if bool(storage.access_key) != bool(storage.secret_key.get_secret_value()):
        raise ConfigError("storage.access_key and storage.secret_key go together: set both, or neither")


def show(config: Path | None = None, overrides: Mapping[str, object] | None = None) -> list[ShownSetting]:
    """Every setting in force, with its origin and without its secrets. Raises ConfigError as `load` does."""
    sources = _sources(config, overrides or {})
    settings = _merged(sources)
    _check(settings)
    shown = []
    for path, field in fields(Settings):
        origin = next((source.label(path) for source in reversed(sources) if source.holds(path)), "default")
        value = _plain(settings, path)
        if "password" in field.metadata:
            value = without_password(str(value))
        shown.append(ShownSetting(".".join(path), value, origin))
    return shown


def _plain(settings: BaseModel, path: tuple[str, ...]) -> object:
    value: object = settings
    for part in path:
        value = getattr(value, part)
    return _plain_value(value)


def _plain_value(value: object) -> object:
    if isinstance(value, SecretStr):
        return "(hidden)"
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, SignatureSettings):
        return str(value)  # by the names of its files, which have been read
    if isinstance(value, BaseModel):
        return {name: _plain_value(held) for name, held in value}
    if isinstance(value, dict):
        return {name: _plain_value(held) for name, held in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else str(value)


@dataclass(frozen=True, slots=True)
class _Source:
    """What one source says: a tree of values, and how a person finds one of them there."""

    kind: Literal["file", "environment", "flag"]
    name: str
    values: Mapping[str, Any]

    def label(self, path: tuple[str, ...]) -> str:
        match self.kind:
            case "file":
                return f"{self.name}: {'.'.join(path)}"
            case "environment":
                return _variable(path)
            case "flag":
                return "--" + path[-1].replace("_", "-")

    def holds(self, path: tuple[str, ...]) -> bool:
        found: object = self.values
        for part in path:
            if not isinstance(found, Mapping) or part not in found:
                return False
            found = found[part]
        return True

    def problems(self) -> Iterator[str]:
        try:
            Settings(**self.values)
        except Invalid as invalid:
            for error in invalid.errors(include_url=False):
                yield self._problem(
                    error["type"], tuple(str(part) for part in error["loc"]), error["msg"], error["input"]
                )

    def _problem(self, kind: str, loc: tuple[str, ...], message: str, given: object) -> str:
        if kind == "extra_forbidden":
            return f"{self.label(loc)}: unknown key{nearest(loc[-1], siblings(Settings, loc))}"
        if kind == "missing":
            return f"{self.label(loc)}: is missing"
        known = {path for path, _ in fields(Settings)}
        if loc[0] == "signatures" and len(loc) > 2:  # one of a list of tables, in which nothing is secret
            known |= {(*loc[:2], name) for name in SignatureSettings.model_fields}
        path = loc if loc in known else next((loc[:n] for n in range(len(loc), 0, -1) if loc[:n] in known), loc)
        expected = message.removeprefix("Value error, ").replace("Input should be", "expected", 1)
        if kind in ("model_type", "model_attributes_type"):
            expected = f"expected a section: [{loc[-1]}] on a line of its own"
        if isinstance(given, Mapping | list) or is_secret(Settings, loc):  # a table may hold a secret
            return f"{self.label(loc)}: {expected}"
        return f"{self.label(path)}: got {without_password(repr(given))}, {expected}"


def _sources(config: Path | None, overrides: Mapping[str, object]) -> list[_Source]:
    """All sources, the strongest last. Raises ConfigError with the problems of all of them."""
    problems = list(_unknown_variables(os.environ))
    sources = [
        _Source("environment", "", EnvSettingsSource(Settings)() if not problems else {}),
        _Source("flag", "", _tree(overrides)),
    ]
    if config is not None:
        try:
            sources.insert(0, _Source("file", str(config), _read_toml(config)))
        except ConfigError as error:
            problems[:0] = error.problems
    problems += [problem for source in sources for problem in source.problems()]
    if problems:
        raise ConfigError(*problems)
    return sources


def _merged(sources: list[_Source]) -> Settings:
    merged: dict[str, Any] = {}
    for source in sources:
        merged = _joined(merged, source.values)
    return Settings(**merged)


def _joined(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees; a list is one value, and the stronger one is taken whole."""
    joined = dict(weaker)
    for key, value in stronger.items():
        joined[key] = _joined(weaker.get(key, {}), value) if isinstance(value, Mapping) else value
    return joined


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _tree(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        if value is not None:
            *sections, name = key.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = value
    return tree


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    known = {_variable(path) for path, _ in fields(Settings)}
    for name in sorted(environment):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in (*known, *_OF_COMMANDS):
            yield f"{name}: unknown variable{nearest(name.upper(), known)}"


def _variable(path: tuple[str, ...]) -> str:
    return ENV_PREFIX + ENV_DELIMITER.join(path).upper()
