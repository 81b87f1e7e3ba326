"""Where a client comes from, and where it thinks that we are."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

from aiohttp import web

from registry.errors import Denied
from registry.http.proxies import Networks, client_address, is_https

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


class Addresses:
    """`public_url`: where clients reach us, if the settings say so; `trusted`: proxies that speak for clients."""

    def __init__(self, public_url: str | None, trusted: Networks) -> None:
        self._public_url = (public_url or "").rstrip("/")
        self._trusted = trusted

    def client(self, request: web.BaseRequest) -> str:
        return client_address(request, self._trusted)

    def base(self, request: web.BaseRequest) -> str:
        """The beginning of our addresses, as this client sees us."""
        if self._public_url:
            return self._public_url
        host = request.headers.get("Host", "")
        if not _HOST.fullmatch(host):  # it goes into a header, and clients follow it
            host = "localhost"
        return f"{self.scheme(request)}://{host}"

    def check_private(self, request: web.BaseRequest, what: str = "passwords") -> None:
        """Before a secret that stays good is taken or given. Raises Denied where others could read it on the way."""
        if self.scheme(request) != "https" and not _is_loopback(self.client(request)):
            raise Denied(f"{what} go over HTTPS alone: give the registry a certificate, or a proxy with one")

    def scheme(self, request: web.BaseRequest) -> str:
        """https where the connection is TLS, or a trusted proxy says that its own is."""
        return "https" if is_https(request, self._trusted) else "http"


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    """A unix socket has no address: whoever may open it is on this machine."""
    return not address or ip_address(address).is_loopback
