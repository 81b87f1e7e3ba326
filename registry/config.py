"""Settings: a TOML file, then SHOAL_* environment variables, then flags; the later one wins.

Each source is checked alone, so that an error names the file and key, the variable or the flag that holds
the bad value, even where another source would have overridden it.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, SecretStr
from pydantic import ValidationError as Invalid
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from registry.values import (
    Address,
    parse_address,
    parse_bytes,
    parse_database_url,
    parse_networks,
    parse_public_url,
    parse_redis_url,
    parse_seconds,
    without_password,
)

__all__ = ["Address", "ConfigError", "Settings", "ShownSetting", "load", "refuse_open_door", "show"]

ENV_PREFIX = "SHOAL_"
ENV_DELIMITER = "__"


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
PublicUrl = Annotated[str, PlainValidator(parse_public_url)]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    PlainValidator(parse_networks),
    PlainSerializer(lambda networks: [str(network) for network in networks], when_used="json"),
]
# A URL may hold a password, which is not shown.
DatabaseUrl = Annotated[str, PlainValidator(parse_database_url), "password"]
RedisUrl = Annotated[str, PlainValidator(parse_redis_url), "password"]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
PositiveSeconds = Annotated[Seconds, Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Count = Annotated[int, BeforeValidator(_whole_number)]


Secret = Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """How clients reach the registry, and how long it waits for them (times in seconds)."""

    listen: ListenAddress = Address("127.0.0.1", 5000)
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


class StorageSettings(_Section):
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


class DatabaseSettings(_Section):
    """Where the metadata is kept: a Postgres, or (with an empty url) SQLite in the data directory."""

    url: DatabaseUrl = ""


class RedisSettings(_Section):
    """What several nodes share for a short time."""

    url: RedisUrl = ""


class UploadSettings(_Section):
    """Uploads that nobody finishes."""

    expire_after: PositiveSeconds = 3600.0


class CollectSettings(_Section):
    """The collector of blobs that nothing needs."""

    interval: PositiveSeconds = 600.0
    grace: Seconds = 86400.0
    # objects that nothing needs stay this long: a running transfer, or an address that was given out, may use them
    leftovers: PositiveSeconds = 3600.0

    @property
    def keep_plans_every(self) -> float:
        """Seconds between two notes that an object is still being made, which else would be left over."""
        return min(self.leftovers / 4, 60.0)


class LogSettings(_Section):
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
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    uploads: UploadSettings = UploadSettings()
    collect: CollectSettings = CollectSettings()
    log: LogSettings = LogSettings()

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

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach the registry."""
        return self.server.listen.is_loopback


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
    refuse_open_door(settings)
    _check_storage(settings.storage)
    return settings


def _check_storage(storage: StorageSettings) -> None:
    if storage.kind == "s3" and not storage.bucket:
        raise ConfigError('storage.bucket: storage.kind = "s3" needs the name of a bucket that is there')
    if bool(storage.access_key) != bool(storage.secret_key.get_secret_value()):
        raise ConfigError("storage.access_key and storage.secret_key go together: set both, or neither")


def refuse_open_door(settings: Settings) -> None:
    """Raise ConfigError if others than this machine could connect and nobody said that they may."""
    if not settings.is_loopback and not settings.server.allow_anonymous:
        raise ConfigError(
            f"server.listen: {settings.server.listen} can be reached from other machines, and there are no accounts: "
            "everybody there could push and delete. Listen on 127.0.0.1, or allow it with --allow-anonymous "
            f"(server.allow_anonymous = true, {ENV_PREFIX}SERVER{ENV_DELIMITER}ALLOW_ANONYMOUS=true)"
        )


def show(config: Path | None = None, overrides: Mapping[str, object] | None = None) -> list[ShownSetting]:
    """Every setting in force, with its origin and without its secrets. Raises ConfigError as `load` does."""
    sources = _sources(config, overrides or {})
    settings = _merged(sources)
    refuse_open_door(settings)
    _check_storage(settings.storage)
    shown = []
    for path, field in _fields(Settings):
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
    if isinstance(value, SecretStr):
        return "(hidden)"
    if isinstance(value, tuple):
        return [str(item) for item in value]
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
        known = {path for path, _ in _fields(Settings)}
        if kind == "extra_forbidden":
            siblings = {
                path[len(loc) - 1] for path in known if path[: len(loc) - 1] == loc[:-1] and len(path) >= len(loc)
            }
            return f"{self.label(loc)}: unknown key{_nearest(loc[-1], siblings)}"
        path = loc if loc in known else next((loc[:n] for n in range(len(loc), 0, -1) if loc[:n] in known), loc)
        expected = message.removeprefix("Value error, ").replace("Input should be", "expected", 1)
        if kind in ("model_type", "model_attributes_type"):
            expected = f"expected a section: [{loc[-1]}] on a line of its own"
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
        for key, value in source.values.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return Settings(**merged)


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
    known = {_variable(path) for path, _ in _fields(Settings)}
    for name in sorted(environment):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            yield f"{name}: unknown variable{_nearest(name.upper(), known)}"


def _variable(path: tuple[str, ...]) -> str:
    return ENV_PREFIX + ENV_DELIMITER.join(path).upper()


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(known))}"


def _fields(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, path)
        else:
            yield path, field
