"""Passwords of a directory of OpenLDAP: who gets in, who does not, and what happens when it is away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.auth.identity import Identity
from registry.auth.ldap import MOST_WAITING, LdapDirectory, account_of, filled
from registry.auth_settings import LdapSettings
from registry.errors import StartupError, Unavailable
from tests.harness import certificates
from tests.harness.process import run
from tests.harness.slapd import BASE, GROUPS, PEOPLE, REGISTRY, REGISTRY_PASSWORD, SlapdServer

pytestmark = pytest.mark.require("slapd", "ldapwhoami", "openssl")

PERSON = """
dn: uid={0},{1}
objectClass: inetOrgPerson
uid: {0}
{2}
cn: {0}
sn: {0}
"""
GROUP = """
dn: cn={0},{1}
objectClass: groupOfNames
cn: {0}
{2}
"""
REFERRAL = f"""
dn: ou=elsewhere,{PEOPLE}
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:9/dc=trap
"""
ENTRIES = "".join(
    [
        PERSON.format("ann", PEOPLE, "mail: shared@example.org\nuserPassword: secret-a"),
        PERSON.format("bob", PEOPLE, "mail: shared@example.org\nuserPassword: sécret-b"),
        PERSON.format("(odd*)", PEOPLE, "userPassword: secret-o"),
        PERSON.format("keyless", PEOPLE, "description: has no password"),
        PERSON.format("two", PEOPLE, "uid: deux\nuserPassword: secret-t"),
        GROUP.format("Developers", GROUPS, f"member: uid=ann,{PEOPLE}\nmember: uid=(odd*),{PEOPLE}"),
        GROUP.format("ops", GROUPS, f"member: uid=ann,{PEOPLE}"),
        REFERRAL,
    ]
)
Open = Callable[..., LdapDirectory]


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlapdServer]:
    directory = tmp_path_factory.mktemp("ldap")
    server = SlapdServer(directory / "slapd", certificates.made(directory / "certificates"), ENTRIES)
    yield server
    server.close()


@pytest.fixture
def opened(slapd: SlapdServer) -> Iterator[Open]:
    made: list[LdapDirectory] = []

    def open_(**changed: object) -> LdapDirectory:
        settings: dict[str, object] = {
            "url": slapd.url,
            "start_tls": True,
            "ca_file": str(slapd.certificates.ca),
            "bind_dn": REGISTRY,
            "bind_password": REGISTRY_PASSWORD,
            "base": PEOPLE,
            "groups_base": GROUPS,
        }
        made.append(LdapDirectory(LdapSettings.model_validate(settings | changed)))
        return made[-1]

    yield open_
    for directory in made:
        directory.close()


@pytest.mark.parametrize("way", ["start_tls", "ldaps", "plain"])
async def test_who_gets_in(slapd: SlapdServer, opened: Open, way: str) -> None:
    changed: dict[str, dict[str, object]] = {
        "start_tls": {},
        "ldaps": {"url": slapd.tls_url, "start_tls": False},
        "plain": {"start_tls": False},
    }
    directory = opened(**changed[way])
    assert await directory.check("ann", "secret-a") == Identity("ann", ("developers", "ops"))
    assert await directory.check("bob", "sécret-b") == Identity("bob")
    for name, password in (("ann", "sécret-b"), ("carl", "secret-a"), ("keyless", "x"), ("", "x"), ("ann" * 999, "x")):
        assert await directory.check(name, password) is None


async def test_one_person_is_one_account_however_the_name_is_written(opened: Open) -> None:
    directory = opened(groups_base="")
    assert await directory.check("ANN", "secret-a") == Identity("ann")
    assert await directory.check(" ann ", "secret-a") == Identity("ann")  # insignificant spaces, RFC 4518
    assert await directory.check("deux", "secret-t") == Identity("deux")
    assert await directory.check("two", "secret-t") == Identity("two")


async def test_a_bind_without_a_password_is_never_sent(slapd: SlapdServer, opened: Open) -> None:
    # this directory answers success to such a bind
    run(["ldapwhoami", "-x", "-H", slapd.url, "-D", f"uid=ann,{PEOPLE}", "-w", ""])
    directory = opened()
    for password in ("", "\0", "\u00ad", "\u200b", " "):  # SASLprep maps the third and fourth to nothing
        assert await directory.check("ann", password) is None


@pytest.mark.parametrize(
    "name", ["*", "a*", "ann)(uid=*", "*)(objectClass=*", "ann\0", "\\61nn", "{name}", "ann)", "(", "\\", "uid=ann"]
)
async def test_a_name_is_never_a_filter(opened: Open, name: str) -> None:
    assert await opened().check(name, "secret-a") is None


async def test_a_name_of_special_letters(opened: Open) -> None:
    assert await opened().check("(odd*)", "secret-o") == Identity("(odd*)", ("developers",))


async def test_exactly_one_has_to_fit(opened: Open) -> None:
    directory = opened(user_filter="(mail={name})")
    assert await directory.check("shared@example.org", "secret-a") is None
    assert await directory.check("shared@example.org", "sécret-b") is None


async def test_the_directory_does_not_take_our_own_password(opened: Open) -> None:
    for changed in ({"bind_password": "wrong"}, {"base": f"ou=nowhere,{BASE}"}, {"user_filter": "(uid={name}"}):
        with pytest.raises(Unavailable) as caught:
            await opened(**changed).check("ann", "secret-a")
        assert "wrong" not in str(caught.value)
    # nobody but the registry may search here
    with pytest.raises(Unavailable):
        await opened(bind_dn="", bind_password="").check("ann", "secret-a")


async def test_a_certificate_of_somebody_else(slapd: SlapdServer, opened: Open, tmp_path: Path) -> None:
    other = certificates.made(tmp_path / "other").ca
    for url, start_tls in ((slapd.url, True), (slapd.tls_url, False)):
        with pytest.raises(Unavailable):
            await opened(url=url, start_tls=start_tls, ca_file=str(other)).check("ann", "secret-a")
        with pytest.raises(Unavailable):  # the right authority, another name than the certificate's
            await opened(url=url.replace("127.0.0.1", "localhost"), start_tls=start_tls).check("ann", "secret-a")
    with pytest.raises(StartupError, match=r"auth.ldap.ca_file: .*absent cannot be used: No such file"):
        opened(ca_file=str(tmp_path / "absent"))


async def test_a_directory_that_is_away_and_comes_back(tmp_path: Path) -> None:
    server = SlapdServer(tmp_path / "slapd", certificates.made(tmp_path / "certificates"), ENTRIES)
    settings = {"url": server.url, "bind_dn": REGISTRY, "bind_password": REGISTRY_PASSWORD, "base": PEOPLE}
    directory = LdapDirectory(LdapSettings.model_validate(settings))
    try:
        assert await directory.check("ann", "secret-a") == Identity("ann")
        server.close()
        with pytest.raises(Unavailable):
            await directory.check("ann", "secret-a")
        server.start()
        assert await directory.check("ann", "secret-a") == Identity("ann")
    finally:
        directory.close()
        server.close()


async def test_a_directory_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        directory = LdapDirectory(LdapSettings.model_validate({"url": url, "base": BASE, "timeout": 0.3}))
        begun = time.monotonic()
        answers = await asyncio.gather(
            *(directory.check("ann", "secret-a") for _ in range(MOST_WAITING + 6)), return_exceptions=True
        )
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert sum("too many" in str(answer) for answer in answers) == 6
        assert time.monotonic() - begun < 10
        directory.close()


def test_filters() -> None:
    assert filled("(&(a=b)(uid={name}))", {"name": "x*(y)\\\0"}) == "(&(a=b)(uid=x\\2a\\28y\\29\\5c\\00))"
    assert filled("(|(m={dn})(n={name}))", {"dn": "{name}", "name": "{dn}"}) == "(|(m={name})(n={dn}))"
    assert filled("(x={other})", {"name": "a"}) == "(x={other})"


def test_accounts() -> None:
    assert account_of(["Ann"], "ann") == "ann"
    assert account_of(["Ann"], "ann@example.org") == "ann"
    assert account_of(["ann", "anna"], "ANNA") == "anna"
    assert account_of(["ann", "anna"], "other") is None
    assert account_of([], "ann") is None
    assert account_of([""], "ann") is None


def test_nothing_secret_is_shown(opened: Open) -> None:
    assert REGISTRY_PASSWORD not in repr(opened())
