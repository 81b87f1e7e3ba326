"""Passwords that an LDAP directory knows (RFC 4511, 4513): look the person up, then bind as that person.

The library is ldap3: pure Python from a wheel. bonsai and python-ldap are kept better, but both have to be compiled
against the OpenLDAP headers wherever the registry is installed. Of ldap3 we use the least, and TLS not at all: its own
check of the server's name knows no IP addresses beyond Python 3.11, so OpenSSL does that here.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import structlog
from ldap3 import ANONYMOUS, DEREF_NEVER, NONE, SIMPLE, SUBTREE, SYNC, Connection, Server, Tls
from ldap3.core.exceptions import LDAPException
from ldap3.core.results import (
    RESULT_BUSY,
    RESULT_INVALID_CREDENTIALS,
    RESULT_SIZE_LIMIT_EXCEEDED,
    RESULT_SUCCESS,
    RESULT_UNAVAILABLE,
)
from ldap3.utils.conv import escape_filter_chars
from pyasn1.error import PyAsn1Error

from registry.auth.identity import Identity
from registry.auth_settings import LdapSettings
from registry.errors import StartupError, Unavailable

log = structlog.get_logger(__name__)

MOST_WAITING = 64
_THREADS = 4  # and so connections: each check has one of its own, which nobody else's bind can have touched
_STEPS = 5  # connect and StartTLS, bind, search, bind as the person, groups
_MOST_GROUPS = 1000
_LONGEST_NAME = 256
_HOLE = re.compile(r"\{(\w+)\}")


class _AwayError(Exception):
    """The directory cannot be asked; the text is for the log of the server."""


def filled(template: str, values: Mapping[str, str]) -> str:
    """A filter with each {hole} replaced by a value, escaped as RFC 4515 (section 3) wants it.

    In one pass, so that a name in which a hole is written stays a name. DNs are not put together from names at all
    (RFC 4514 would want another escaping): the directory says the DN.
    """
    return _HOLE.sub(lambda hole: escape_filter_chars(values[hole[1]]) if hole[1] in values else hole[0], template)


def account_of(values: list[str], asked: str) -> str | None:
    """The account's name, in lower case, as the directory compares names without case; `values`: what it has for it.

    Of several values it is the one that was asked for. None where that leaves it open who this is.
    """
    named = [value for value in values if value.lower() == asked.lower()]
    chosen = named[:1] or (values if len(values) == 1 else [])
    return chosen[0].lower() if chosen and chosen[0] else None


class LdapDirectory:
    """A PasswordSource. Every check is a fresh connection in a thread of its own; referrals are not followed."""

    def __init__(self, settings: LdapSettings) -> None:
        """Connects to nobody yet. Raises StartupError where `ca_file` cannot be used."""
        self._settings = settings
        url = urlsplit(settings.url)
        self._address = (url.hostname or "", url.port or (636 if url.scheme == "ldaps" else 389))
        self._is_ldaps = url.scheme == "ldaps"
        self._trust = _trust(settings.ca_file)
        self._executor: Executor = ThreadPoolExecutor(_THREADS, "ldap")
        self._waiting = 0

    def __repr__(self) -> str:
        return f"LdapDirectory({self._settings.url!r})"

    async def check(self, name: str, password: str) -> Identity | None:
        """None where exactly one person of that name is not there, or the password is wrong.

        Both take as many round trips. Raises Unavailable where the directory cannot be asked, or too many wait.
        """
        # An empty password would be an unauthenticated bind, which succeeds for everybody (RFC 4513, section 5.1.2).
        if not name or len(name) > _LONGEST_NAME or not password:
            return None
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many people log in at the same time; try again")
        self._waiting += 1
        try:
            async with asyncio.timeout(_STEPS * self._settings.timeout):
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._check, name, password)
        except (_AwayError, LDAPException, PyAsn1Error, OSError, TimeoutError) as error:
            log.error("the directory cannot be asked", url=self._settings.url, problem=_said(error))
            raise Unavailable("the directory of people cannot be asked just now; try again") from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Waits for nobody: a check that runs ends by its own timeout."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _check(self, name: str, password: str) -> Identity | None:
        with self._connected() as connection:
            found = self._person(connection, name)
            # For a name that is not there, too, a bind is sent, to an entry that cannot be there.
            dn = found[0] if found else f"cn={secrets.token_hex(16)},{self._settings.base}"
            right = self._may_bind(connection, dn, password)
            if found is None or not right:
                return None
            return Identity(found[1], self._groups(connection, *found))

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        # A Server remembers for some seconds that it did not answer, so each connection has one of its own.
        host, port = self._address
        server = Server(
            host,
            port=port,
            use_ssl=self._is_ldaps,
            tls=_OpenSsl(self._trust),
            get_info=NONE,
            connect_timeout=self._settings.timeout,
        )
        connection = Connection(
            server,
            client_strategy=SYNC,
            auto_referrals=False,
            check_names=False,
            read_only=True,
            raise_exceptions=False,
            receive_timeout=math.ceil(self._settings.timeout),
        )
        try:
            connection.open(read_server_info=False)
            if self._settings.start_tls and not connection.start_tls(read_server_info=False):
                raise _AwayError("StartTLS failed")
            yield connection
        finally:
            connection.unbind()

    def _be_the_registry(self, connection: Connection) -> None:
        """Raises _AwayError where the directory does not take our own name and password."""
        if self._settings.bind_dn:
            secret = self._settings.bind_password.get_secret_value()
            result = _bound(connection, self._settings.bind_dn, secret)
        else:
            connection.rebind(authentication=ANONYMOUS, read_server_info=False)
            result = connection.result
        if result["result"] != RESULT_SUCCESS:
            raise _AwayError(f"auth.ldap.bind_dn and bind_password are refused: {result['description']}")

    def _person(self, connection: Connection, name: str) -> tuple[str, str] | None:
        """DN and account of the one whom the filter finds."""
        settings = self._settings
        self._be_the_registry(connection)
        wanted = filled(settings.user_filter, {"name": name})
        entries = self._search(connection, settings.base, wanted, settings.name_attribute, 2)
        if len(entries) > 1:
            log.warning("more than one person fits auth.ldap.user_filter, so none is let in", filter=wanted)
        if len(entries) != 1:
            return None
        dn, values = entries[0]
        account = account_of(values, name)
        if account is None:
            log.warning("a person has not the one auth.ldap.name_attribute", dn=dn, attribute=settings.name_attribute)
        # An empty DN would make the bind anonymous (RFC 4513, section 5.1.1).
        return (dn, account) if dn and account else None

    def _may_bind(self, connection: Connection, dn: str, password: str) -> bool:
        result = _bound(connection, dn, password)
        if result["result"] in (RESULT_BUSY, RESULT_UNAVAILABLE):
            raise _AwayError(str(result["description"]))
        if result["result"] not in (RESULT_SUCCESS, RESULT_INVALID_CREDENTIALS):
            log.info("the directory refuses a login", dn=dn, reason=result["description"])
        return bool(result["result"] == RESULT_SUCCESS)

    def _groups(self, connection: Connection, dn: str, account: str) -> tuple[str, ...]:
        settings = self._settings
        if not settings.groups_base:
            return ()
        self._be_the_registry(connection)
        wanted = filled(settings.group_filter, {"dn": dn, "name": account})
        entries = self._search(connection, settings.groups_base, wanted, settings.group_attribute, _MOST_GROUPS)
        return tuple(sorted({value.lower() for _, values in entries for value in values}))

    def _search(
        self, connection: Connection, base: str, wanted: str, attribute: str, most: int
    ) -> list[tuple[str, list[str]]]:
        """DN and the values of one attribute of each entry; references to other servers are left out."""
        connection.search(
            base,
            wanted,
            SUBTREE,
            dereference_aliases=DEREF_NEVER,
            attributes=[attribute],
            size_limit=most,
            time_limit=math.ceil(self._settings.timeout),
        )
        if connection.result["result"] not in (RESULT_SUCCESS, RESULT_SIZE_LIMIT_EXCEEDED):
            raise _AwayError(f"a search below {base} failed: {connection.result['description']}")
        found = [entry for entry in connection.response or [] if entry["type"] == "searchResEntry"]
        return [(entry["dn"], _texts(entry["raw_attributes"].get(attribute, []))) for entry in found]


def _bound(connection: Connection, dn: str, password: str) -> dict[str, Any]:
    # As bytes: of a text ldap3 drops what SASLprep maps to nothing, and a password of a soft hyphen would be empty.
    connection.rebind(
        user=dn, password=password.encode(errors="surrogatepass"), authentication=SIMPLE, read_server_info=False
    )
    return dict(connection.result)


def _texts(values: list[bytes]) -> list[str]:
    return [value.decode("utf-8", "replace") for value in values]


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        said = "it has no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise StartupError(f"auth.ldap.ca_file: {ca_file} cannot be used: {said}") from None


class _OpenSsl(Tls):
    """TLS as the standard library does it, for ldaps and StartTLS alike: the chain and the name are verified."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = self._context.wrap_socket(
            connection.socket, server_hostname=connection.server.host, do_handshake_on_connect=do_handshake
        )
