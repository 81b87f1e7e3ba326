"""AWS Signature Version 4, made by botocore without a call over the network.

The bytes of a body are not part of the signature (UNSIGNED-PAYLOAD): they are sent while they are read, and
a checksum among the signed headers protects them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import boto3
import structlog
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from registry.errors import StartupError, Unavailable
from registry.storage.s3.settings import StoreSettings

log = structlog.get_logger(__name__)

UNSIGNED = "UNSIGNED-PAYLOAD"
_RENEWED_AT_MOST_EVERY = 30.0  # seconds
_HARDLY_ANY_TIME = 60  # seconds
_ASKED_AGAIN_AFTER = 10.0  # seconds


class Signer:
    """Signs requests. `skew`: how far the store's clock is ahead of ours."""

    def __init__(self, settings: StoreSettings) -> None:
        """Raises StartupError where no credentials are found. May ask the machine's own credential service."""
        self._settings = settings
        self.skew = timedelta()
        self._renewed_at = 0.0
        self._renewing = asyncio.Lock()
        self._last: Any = None
        self._ahead_of_time: asyncio.Task[None] | None = None
        self._asked_at = -_ASKED_AGAIN_AFTER
        try:
            self._credentials = self._found()
        except (BotoCoreError, ClientError) as error:
            raise StartupError(f"the credentials of the object store cannot be read: {error}") from error
        if self._credentials is None:
            raise StartupError(
                "the object store needs credentials: set storage.access_key and storage.secret_key, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )

    async def headers(
        self, method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, str]:
        """All headers of a request, with its signature."""
        request = AWSRequest(method=method, url=_with_query(url, query), headers=dict(headers))
        _Headers(await self._usable(), self._settings.region, self.skew).add_auth(request)
        return dict(request.headers.items())

    async def presigned(self, url: str, seconds: int) -> str:
        """An address that lets whoever has it GET the object for some time."""
        request = AWSRequest(method="GET", url=url)
        _Query(await self._usable(), self._settings.region, self.skew, seconds).add_auth(request)
        return str(request.url)

    async def renewed(self, token: str) -> bool:
        """Whether there are other credentials by now than those with this session token, which a store refused.

        Looks for them anew, at most once in a while.
        """
        async with self._renewing:
            now = time.monotonic()
            due = not self._renewed_at or now - self._renewed_at >= _RENEWED_AT_MOST_EVERY
            if due and (await self._token()) == token:
                self._renewed_at = now
                try:
                    self._credentials = await asyncio.to_thread(self._found) or self._credentials
                except (BotoCoreError, ClientError) as error:
                    raise _not_renewed(error) from error
                self._last = None
        return await self._token() != token

    async def _token(self) -> str:
        return (await self._frozen()).token or ""

    def _found(self) -> Any:
        return boto3.Session(
            aws_access_key_id=self._settings.access_key or None,
            aws_secret_access_key=self._settings.secret_key or None,
            region_name=self._settings.region,
        ).get_credentials()

    async def _usable(self) -> Any:
        """Without an empty token, which some services give: it would be signed, and stores refuse it."""
        frozen = await self._frozen()
        return frozen if frozen.token else frozen._replace(token=None)

    async def _frozen(self) -> Any:
        """The credentials of now. Those that expire are renewed by asking a server, in a thread: in good time while
        the old ones are used, and waited for only when these have hardly any time left."""
        credentials = self._credentials
        if not isinstance(credentials, RefreshableCredentials):
            return credentials.get_frozen_credentials()
        if self._last is None or credentials.refresh_needed(_HARDLY_ANY_TIME):
            return await self._renew_now()
        if credentials.refresh_needed() and time.monotonic() - self._asked_at > _ASKED_AGAIN_AFTER:
            self._asked_at = time.monotonic()
            self._ahead_of_time = asyncio.create_task(self._renew_ahead_of_time())
        return self._last

    async def _renew_now(self) -> Any:
        credentials = self._credentials
        try:
            frozen = await asyncio.to_thread(credentials.get_frozen_credentials)
        except (BotoCoreError, ClientError) as error:  # the latter is what a token service refuses with
            raise _not_renewed(error) from error
        if credentials is self._credentials:  # else others were found meanwhile
            self._last = frozen
        return frozen

    async def _renew_ahead_of_time(self) -> None:
        try:
            await self._renew_now()
        except Unavailable as error:
            log.warning("the credentials of the object store expire soon", error=error.detail)


def _not_renewed(error: Exception) -> Unavailable:
    return Unavailable("the credentials of the object store cannot be renewed", {"error": str(error)})


class _Headers(S3SigV4Auth):  # type: ignore[misc]
    def __init__(self, credentials: Any, region: str, skew: timedelta) -> None:
        super().__init__(credentials, "s3", region)
        self._skew = skew

    def payload(self, request: AWSRequest) -> str:
        return UNSIGNED

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = _timestamp(self._skew)
        super()._modify_request_before_signing(request)


class _Query(S3SigV4QueryAuth):  # type: ignore[misc]
    def __init__(self, credentials: Any, region: str, skew: timedelta, seconds: int) -> None:
        super().__init__(credentials, "s3", region, expires=seconds)
        self._skew = skew

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = _timestamp(self._skew)
        super()._modify_request_before_signing(request)


def _timestamp(skew: timedelta) -> str:
    return (datetime.now(UTC) + skew).strftime(SIGV4_TIMESTAMP)


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}?{urlencode(query, quote_via=quote)}" if query else url
