"""HTTP to one registry: trying again, and logging in as it asks (RFC 7617; Docker Registry token authentication)."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from registry.errors import StartupError
from registry.imports.ports import DamagedError, NotThereError, StoppedError
from registry.values import without_password

_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds; each pause is twice the one before
_TIMEOUT = ClientTimeout(total=None, sock_connect=10, sock_read=60)
_PASSING = (429, 500, 502, 503, 504)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MOST_OF_AN_ERROR = 2000

BROKEN = (ClientError, TimeoutError, OSError)
Content = Callable[[], AsyncIterator[bytes]] | bytes | None
"""What is sent; it is asked for anew each time."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and its password."""

    user: str
    password: str = field(repr=False)

    def basic(self) -> str:
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


class BrokenError(StoppedError):
    """The registry's answer broke off."""


class SilentError(BrokenError):
    """The registry did not answer, however often it was asked."""


class RegistrySession:
    """`credentials` go to the registry, and to where it says that tokens are given."""

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        """Raises StartupError where `url` is no address of a registry; a name and password in it count too."""
        try:
            parsed = URL(url)
            self._base = parsed.origin()
        except ValueError:
            parsed = URL()
        if parsed.scheme not in ("http", "https") or parsed.path not in ("", "/"):
            raise StartupError(
                f"{without_password(url)} is no address of a registry: it looks like https://registry.example:5000"
            )
        if credentials is None and parsed.user:
            credentials = Credentials(parsed.user, parsed.password or "")
        self._credentials = credentials
        self._granted: dict[str, str] = {}
        self._session: ClientSession | None = None

    @property
    def url(self) -> str:
        return str(self._base)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        area: str = "",
        headers: Mapping[str, str] | None = None,
        content: Content = None,
        tries: int = _TRIES,
    ) -> AsyncIterator[ClientResponse]:
        """One answer, of any status that another try would not change; `path` with its query.

        `area`: for which one login is enough, the repository. Raises BrokenError, SilentError.
        """
        response = await self._answer(method, path, area, headers or {}, content, tries)
        try:
            yield response
        except BROKEN as error:
            raise BrokenError(f"{self.url} broke off its answer: {_said(error)}") from error
        finally:
            if response.content.at_eof():
                response.release()
            else:  # what is left of the answer may be long: the connection goes with it
                response.close()

    async def _answer(
        self, method: str, path: str, area: str, headers: Mapping[str, str], content: Content, tries: int
    ) -> ClientResponse:
        asked, cause = False, ""
        for number in range(tries):
            if number:
                await asyncio.sleep(_FIRST_PAUSE * 2 ** (number - 1))
            try:
                response = await self._request(method, path, area, headers, content)
                if response.status == 401 and not asked:
                    asked = True
                    if await self._log_in(response, area):
                        response = await self._request(method, path, area, headers, content)
            except BROKEN as error:
                cause = _said(error)
                continue
            if response.status not in _PASSING or number == tries - 1:
                return response
            response.close()
            cause = f"status {response.status}"
        raise SilentError(f"{self.url} does not answer: {cause}")

    async def _request(
        self, method: str, path: str, area: str, headers: Mapping[str, str], content: Content
    ) -> ClientResponse:
        sent = {"Accept-Encoding": "identity", **headers}
        if area in self._granted:
            sent["Authorization"] = self._granted[area]
        data = content() if callable(content) else content
        follow = method in ("GET", "HEAD")
        url = URL(f"{self.url}{path}", encoded=True)
        return await self._opened().request(method, url, headers=sent, data=data, allow_redirects=follow)

    def _opened(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(timeout=_TIMEOUT, auto_decompress=False, connector=TCPConnector(limit=0))
        return self._session

    async def _log_in(self, refusal: ClientResponse, area: str) -> bool:
        """Get what the registry wants to see; False where that cannot be had."""
        challenge = refusal.headers.get("WWW-Authenticate", "")
        refusal.close()
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and self._credentials:
            self._granted[area] = self._credentials.basic()
            return True
        if kind.lower() != "bearer":
            return False
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.pop("realm", "")
        query = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        headers = {"Authorization": self._credentials.basic()} if self._credentials else {}
        try:
            url = URL(realm)
            async with self._opened().get(url.update_query(query), headers=headers) as response:
                answer = await response.json(content_type=None) if response.status == 200 else {}
        except ValueError:
            return False
        token = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            return False
        self._granted[area] = f"Bearer {token}"
        return True


async def check(response: ClientResponse, what: str, *wanted: int) -> None:
    """Raises NotThereError, DamagedError where the status is not one of those that are wanted."""
    if response.status in wanted:
        return
    if response.status == 404:
        raise NotThereError(f"the registry does not have {what}")
    if response.status in (401, 403):
        raise DamagedError(f"the registry does not give {what} to everybody (status {response.status})")
    raise DamagedError(f"the registry does not give {what}: {await error_text(response)}")


async def error_text(response: ClientResponse) -> str:
    """What an error says, on one line."""
    text = (await response.content.read(_MOST_OF_AN_ERROR)).decode("utf-8", "replace")
    return f"status {response.status} {' '.join(text.split())}".strip()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
