"""The cookies of people who log in with a browser, and which page made the browser send them.

`base` is the beginning of our addresses (Addresses.base): it decides whether a browser speaks https with us.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from yarl import URL

_HOST_ALONE = "__Host-"


@dataclass(frozen=True, slots=True)
class Cookie:
    """One that no script can read, and no page of another site sends but by leading here (SameSite=Lax).

    With https it has the prefix __Host- (RFC 6265bis, 4.1.3.2), so that neither a neighbour in the domain nor somebody
    on the way can put another in its place. That takes the path `/`; without https, where the prefix does not work, it
    is `path`. Not Strict: what a login gives would be missing at the page to which it leads, as that began elsewhere.
    """

    name: str
    path: str

    def of(self, request: web.BaseRequest, base: str) -> str:
        """Its value; "" where it was not sent, or sent twice: then one of the two is somebody else's.

        Read as browsers write it (RFC 6265, 4.2.1): a library that also ends a pair at a space takes what stands inside
        of the value of another cookie, which a neighbour in the domain may set, for one with our prefix.
        """
        pairs = [pair.strip(" \t") for line in request.headers.getall("Cookie", ()) for pair in line.split(";")]
        begins = f"{self._name(base)}="
        found = [pair.removeprefix(begins) for pair in pairs if pair.startswith(begins)]
        return found[0] if len(found) == 1 else ""

    def keep(self, response: web.StreamResponse, base: str, value: str, seconds: float) -> None:
        response.set_cookie(
            self._name(base),
            value,
            max_age=int(seconds),
            path=self._path(base),
            secure=_is_https(base),
            httponly=True,
            samesite="Lax",
        )

    def forget(self, response: web.StreamResponse, base: str) -> None:
        response.del_cookie(
            self._name(base), path=self._path(base), secure=_is_https(base), httponly=True, samesite="Lax"
        )

    def _name(self, base: str) -> str:
        return _HOST_ALONE + self.name if _is_https(base) else self.name

    def _path(self, base: str) -> str:
        return "/" if _is_https(base) else self.path


SESSION = Cookie("shoal-session", "/")
LOGIN = Cookie("shoal-login", "/auth")


def comes_from_own_page(request: web.BaseRequest, base: str) -> bool:
    """Whether a browser says that a page of ours made it send this: by Sec-Fetch-Site, by Origin, and by neither
    otherwise. Where it says nothing, it may be of another site.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        return False
    return site in (None, "same-origin", "none") and origin in (None, str(URL(base).origin()))


def _is_https(base: str) -> bool:
    return base.startswith("https://")
