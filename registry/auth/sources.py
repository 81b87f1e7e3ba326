"""The sources outside of the registry that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from registry.auth.htpasswd import HtpasswdFile
from registry.auth.identity import Identity, PasswordSource
from registry.auth.ldap import LdapDirectory
from registry.auth.oidc import OidcIssuer
from registry.auth_settings import AuthSettings

_NAME_OF_JOBS = "token"


class Sources:
    """Whom the registry asks beside itself; of a node. Close it."""

    def __init__(self, settings: AuthSettings) -> None:
        """Raises StartupError where a file that is named cannot be used."""
        self._htpasswd = HtpasswdFile(Path(settings.htpasswd)) if settings.htpasswd else None
        self._ldap = LdapDirectory(settings.ldap) if settings.ldap.url else None
        self.issuers = [OidcIssuer(issuer) for issuer in settings.oidc]

    @property
    def passwords(self) -> list[PasswordSource]:
        jobs = [JobTokens(self.issuers)] if self.issuers else []
        return [*jobs, *(source for source in (self._htpasswd, self._ldap) if source is not None)]

    async def close(self) -> None:
        for source in (self._htpasswd, self._ldap):
            if source is not None:
                source.close()
        for issuer in self.issuers:
            with suppress(asyncio.CancelledError):
                await issuer.close()


class JobTokens:
    """PasswordSource of jobs: `docker login -u token`, with the token that the CI system gave the job as the password.

    No password lies in CI then; whose account the job has is said by the rules on the token's claims.
    """

    def __init__(self, issuers: Sequence[OidcIssuer]) -> None:
        self._issuers = issuers

    async def check(self, name: str, password: str) -> Identity | None:
        if name != _NAME_OF_JOBS:
            return None
        for issuer in self._issuers:
            if (identity := await issuer.identity_of(password)) is not None:
                return identity
        return None
