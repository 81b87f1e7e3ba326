"""What a newcomer is told at the start, and what keeps a registry from standing open by mistake."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address

import structlog

from registry.auth_settings import AuthSettings
from registry.config import Address, Settings
from registry.domain.access import AccessTable
from registry.errors import StartupError

log = structlog.get_logger(__name__)

_SHORT_GRACE = 300.0  # seconds


def refuse_open_door(settings: Settings, table: AccessTable) -> None:
    """Raise StartupError if others than this machine could connect, nobody can log in and nobody said that all may."""
    if not table.is_empty or has_people(settings.auth) or not is_kept_shut(settings):
        return
    if settings.replication.is_slave:  # its accounts come from the master; until then it lets nobody in
        return
    raise StartupError(
        f"{_way_in(settings)}, and there are no accounts: "
        f"make the first with `{first_account(settings)}`, listen on 127.0.0.1, or let everybody push and delete "
        "with --allow-anonymous (server.allow_anonymous = true, SHOAL_SERVER__ALLOW_ANONYMOUS=true)"
    )


def has_people(settings: AuthSettings) -> bool:
    """Whether a source outside of the registry knows whom to let in."""
    return bool(settings.token.realm or settings.htpasswd or settings.ldap.url or settings.oidc)


def is_kept_shut(settings: Settings) -> bool:
    """Whether a registry without accounts lets nobody in, as others could: it does not open with the last deletion."""
    return _way_in(settings) != "" and not settings.server.allow_anonymous


def _way_in(settings: Settings) -> str:
    """How others than this machine get here, "" where they do not: a proxy on this machine lets in whom it likes."""
    for address in settings.server.listen:
        if not address.is_loopback:
            return f"server.listen: {address} can be reached from other machines"
    if settings.server.public_url:
        return f"server.public_url: clients come by {settings.server.public_url}"
    if settings.server.trusted_proxies:
        return "server.trusted_proxies: clients come by a proxy"
    return ""


def first_account(settings: Settings) -> str:
    """The command that makes it."""
    return f"shoal user add NAME --admin --data {settings.data}"


def address_of(settings: Settings) -> str:
    """Where clients find this node: its public address, or else the first one that it listens on."""
    if settings.server.public_url:
        return settings.server.public_url
    return f"{_scheme(settings)}://{_named(settings.server.listen[0])}"


def _scheme(settings: Settings) -> str:
    return "https" if settings.tls.is_on else "http"


def _named(at: Address) -> Address:
    return Address(socket.gethostname(), at.port) if _is_any(at.host) else at


def greet(settings: Settings, addresses: Sequence[Address], *, is_open: bool) -> None:
    """The lines that a newcomer needs. `is_open`: everybody who can connect may do everything."""
    named = [_named(at) for at in addresses]
    shown = named[0]
    lines = [f"Shoal listens on  {', '.join(f'{_scheme(settings)}://{at}' for at in dict.fromkeys(named))}"]
    if not is_open:
        lines.append(f"Log in            docker login {shown}")
    if settings.replication.is_slave:
        lines.append(f"Pull an image     docker pull {shown}/IMAGE  (a copy of {settings.replication.master})")
    else:
        lines.append(f"Push an image     docker tag IMAGE {shown}/IMAGE && docker push {shown}/IMAGE")
    lines.append(f"Data is kept in   {settings.data.resolve()}")
    if is_open and not settings.replication.is_slave:
        lines.append(f"Make an account   {first_account(settings)}  (until then, all may push and delete)")
    print("\n".join(lines), flush=True)
    if settings.collect.grace < _SHORT_GRACE:
        log.warning("collect.grace is short: a push that takes longer can lose its blobs", grace=settings.collect.grace)
    if not is_open and settings.server.allow_anonymous:
        log.warning("allow_anonymous has no effect, as people log in here: see `shoal grant set anonymous`")
    if is_open and (way_in := _way_in(settings)):
        log.warning("everybody who can connect may push, pull and delete (allow_anonymous)", open=way_in)


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
