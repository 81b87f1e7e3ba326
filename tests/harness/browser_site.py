"""A registry whose people log in with a browser, and their issuer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.accounts import password_of, with_accounts
from tests.harness.browser import Browser
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.oidc_provider import OidcProvider, in_background
from tests.harness.server import ShoalServer

IMAGE = small_image(7801)


def oidc_of(*providers: OidcProvider) -> dict[str, str]:
    """The settings of a registry whose people are those of the providers."""
    return {
        "SHOAL_AUTH__OIDC": json.dumps(
            [
                {
                    "issuer": provider.issuer,
                    "client_id": provider.client_id,
                    "client_secret": provider.client_secret,
                    "groups_claim": "groups",
                    "timeout": 2,
                }
                for provider in providers
            ]
        )
    }


@dataclass(frozen=True)
class Site:
    """A registry with an image team/app that @devs may pull, an account `local` and a robot `ci`."""

    server: ShoalServer
    provider: OidcProvider

    def browser(self) -> Browser:
        return Browser(self.server.url)

    def person(self, name: str, *groups: str) -> Browser:
        """Somebody who has logged in."""
        self.provider.claims = {"sub": f"id of {name}", "preferred_username": name, "groups": list(groups)}
        browser = self.browser()
        answer = browser.log_in()
        assert answer.status_code == 200, answer.text
        return browser

    def audited(self, *wanted: str) -> None:
        """Waits for a line of the audit log: who, what, result."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for file in (self.server.data / "audit").glob("*.ndjson"):
                for line in map(json.loads, file.read_text().splitlines()):
                    if (line["who"], line["what"], line["result"]) == wanted:
                        assert line["origin"] == "127.0.0.1"
                        return
            time.sleep(0.05)
        raise AssertionError(f"no line of the audit log is {wanted}")

    def as_usual(self) -> None:
        """The provider says what it usually says."""
        self.provider.claims = {"sub": "4711", "preferred_username": "Ann", "groups": ["devs"]}
        self.provider.document, self.provider.answers, self.provider.returns = {}, {}, {}


@contextmanager
def standing_site(data: Path) -> Iterator[Site]:
    """With two workers, until the block ends. It must not log errors."""
    with_accounts(data, ["local"], [("@devs", "team/**", "pull")], robots={"ci": None})
    with (
        in_background(OidcProvider()) as provider,
        ShoalServer(data, workers=2, env=oidc_of(provider)) as server,
        RegistryClient(server.url) as client,
    ):
        client.session.auth = ("root", password_of("root"))
        client.push_image("team/app", IMAGE, "1")
        yield Site(server, provider)
    assert not [entry for entry in server.complaints() if entry.get("status") != 503]
