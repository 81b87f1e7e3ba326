"""Who the client is and how it speaks, where a proxy that we trust speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(request: web.BaseRequest, trusted: Networks) -> str:
    """The peer's address; behind trusted proxies the last address of X-Forwarded-For that is not one of them."""
    peer = plain_address(request.remote or "")
    if not trusted or not _within(peer, trusted):
        return peer
    hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", ()) for hop in line.split(",")]
    for hop in reversed(hops):
        if not _within(hop, trusted):
            return hop if _is_address(hop) else peer
    return peer


def is_https(request: web.BaseRequest, trusted: Networks) -> bool:
    """Whether the client speaks HTTPS: to us, or as the last trusted proxy says in X-Forwarded-Proto."""
    if request.secure:
        return True
    said = request.headers.getall("X-Forwarded-Proto", ())
    if not said:
        return False
    # A proxy may add a line to what the client wrote.
    return said[-1].rpartition(",")[2].strip().lower() == "https" and comes_by_proxy(request, trusted)


def comes_by_proxy(request: web.BaseRequest, trusted: Networks) -> bool:
    """Whether a proxy that we trust has sent this request on."""
    return _within(plain_address(request.remote or ""), trusted)


def plain_address(peer: str) -> str:
    """An IPv4 address as such, also where it came to an IPv6 socket (RFC 4291, section 2.5.5.2)."""
    if not peer.startswith("::ffff:"):
        return peer
    mapped = IPv6Address(peer).ipv4_mapped
    return str(mapped) if mapped else peer


def _within(text: str, networks: Networks) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _is_address(text: str) -> bool:
    """With a zone (`fe80::1%…`) it is none: Python takes any text for one, and addresses are written into logs."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
