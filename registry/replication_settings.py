"""Settings of a slave: `[replication]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from registry.domain.patterns import parse_pattern
from registry.errors import AccessInvalid
from registry.setting_types import Secret, Section
from registry.values import Address


def _master(text: str) -> str:
    if not text:
        return text
    try:
        url = urlsplit(text)
        well_formed = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed or "@" in url.netloc or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("expected the address of a registry, such as https://master.example:5000")
    return text.rstrip("/")


def _patterns(value: object) -> tuple[str, ...]:
    """A list of patterns, or a text with commas between them."""
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(pattern, str) for pattern in found):
        raise ValueError("expected patterns of repositories, such as team/**")
    try:
        return tuple(parse_pattern(pattern.strip()) for pattern in found if pattern.strip())
    except AccessInvalid as error:
        raise ValueError(error.message) from None


class ReplicationSettings(Section):
    """Whether this registry takes pushes (a master), or copies what another one has (a slave of `master`).

    `token`, or the first line of `token_file`: what `shoal replication token create` printed there. `transfers`: blobs
    that are fetched at the same time. `repositories`: patterns of what it copies; none for all that it may. `others`:
    further addresses that may have the same log, of slaves and of whoever takes the place of the master. `keep_events`:
    of the log, in any case; `most_events`: even for slaves that are further behind, which take a snapshot then.
    `verify`: seconds after which a slave compares itself with the registry above once more, 0 for never.
    `read_through`: what clients ask for by digest and is not here yet is fetched from above at once ("digest"), or not
    ("off"); with "lazy" nothing is fetched before, and tags are shown of which something is missing.
    """

    role: Literal["master", "slave"] = "master"
    master: Annotated[str, AfterValidator(_master)] = ""
    others: Annotated[tuple[Annotated[str, AfterValidator(_master)], ...], Field(max_length=16)] = ()
    token: Secret = SecretStr("")
    token_file: str = ""
    ca_file: str = ""
    repositories: Annotated[tuple[str, ...], BeforeValidator(_patterns), Field(max_length=20)] = ()
    transfers: Annotated[int, Field(ge=1, le=64)] = 4
    verify: Annotated[float, Field(ge=0)] = 3600.0
    read_through: Literal["off", "digest", "lazy"] = "digest"
    # fewer would be read by caches as a whole with each look
    keep_events: Annotated[int, Field(ge=1000)] = 100_000
    most_events: Annotated[int, Field(ge=1000)] = 1_000_000

    @property
    def is_slave(self) -> bool:
        return self.role == "slave"

    def promoted(self) -> ReplicationSettings:
        """The same of a slave that took the place of its master, whose addresses it still has to know."""
        return self.model_copy(update={"role": "master"})


def problems(settings: ReplicationSettings) -> Iterator[str]:
    """One line for each setting that does not go with another one."""
    if settings.most_events < settings.keep_events:
        yield "replication.most_events: no fewer than replication.keep_events"
    if not settings.is_slave:
        if settings.repositories:
            yield "replication.repositories: only a slave copies some of the repositories"
        if settings.master or settings.others:
            yield 'replication.master: only a slave has one; set replication.role = "slave" (--role slave) too'
        return
    has_token = bool(settings.token.get_secret_value() or settings.token_file)
    if not settings.master:
        yield "replication.master: a slave needs the address of its master (--master URL)"
        return
    if settings.token.get_secret_value() and settings.token_file:
        yield "replication.token and replication.token_file: set one of them"
    for address in (settings.master, *settings.others):
        url = urlsplit(address)
        if has_token and url.scheme == "http" and not Address(url.hostname or "", 0).is_loopback:
            yield f"replication.master: {address} would send the token in the clear; write https://"
