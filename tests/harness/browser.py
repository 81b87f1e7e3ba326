"""A person's browser, as far as a login needs one: cookies, redirects, and what it says of the page that sends it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"


class Browser:
    """At one registry. Each request has a connection of its own: any worker may get it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update({"Connection": "close", "Accept": PAGE})

    def get(self, path: str, **options: Any) -> requests.Response:
        """Goes no further by itself."""
        return self.session.get(self.url + path, allow_redirects=False, timeout=30, **options)

    def press(self, path: str, site: str | None = "same-origin", **headers: str) -> requests.Response:
        """Sends the form of a page of that `site`."""
        said = headers | ({"Sec-Fetch-Site": site} if site is not None else {})
        return self.session.post(self.url + path, allow_redirects=False, timeout=30, headers=said)

    def way_back(self, path: str = "/auth/login") -> str:
        """Begins a login, and lets the issuer say where it sends the browser: the path with code and state."""
        begun = self.get(path)
        assert begun.status_code == 302, begun.text
        answer = self.session.get(begun.headers["Location"], allow_redirects=False, timeout=30)
        assert answer.status_code == 302, answer.text
        back = answer.headers["Location"]
        assert back.startswith(f"{self.url}/auth/callback?"), back
        return back.removeprefix(self.url)

    def log_in(self, path: str = "/auth/login") -> requests.Response:
        """The whole way; the page that one sees in the end."""
        return self.session.get(self.url + path, timeout=30)

    def who(self) -> dict[str, Any]:
        """What the registry says of this browser; {} where it is nobody."""
        answer = self.get("/auth/session", headers={"Accept": "application/json"})
        assert answer.status_code in (200, 401), answer.text
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def password(self) -> str:
        """Of the page that shows it once."""
        answer = self.press("/auth/session/password")
        assert answer.status_code == 200, answer.text
        _line, password = re.findall("<pre>(.*?)</pre>", answer.text)
        return str(password)


def query_of(path: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
