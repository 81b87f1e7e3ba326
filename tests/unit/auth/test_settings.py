"""Settings of the sources of identities: what goes together, and what is never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry import config
from registry.auth_settings import ClaimRule
from registry.config import ConfigError, Settings, load, show
from registry.setting_names import fields

OIDC = """
[[auth.oidc]]
issuer = "https://id.example"
audience = "shoal"
client_id = "shoal"
client_secret = "geheim"
rules = [{ claims = { repository = "team/app", protected = true }, account = "ci-team-app" }]
"""
LDAP = (
    '[auth.ldap]\nurl = "ldaps://ldap.example"\nbase = "dc=example"\nbind_dn = "cn=shoal"\nbind_password = "geheim"\n'
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, _ in fields(Settings):
        monkeypatch.delenv(config._variable(path), raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shoal.toml"


def problem(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert len(caught.value.problems) == 1, caught.value.problems
    assert "\n" not in caught.value.problems[0]
    assert "geheim" not in caught.value.problems[0]
    return caught.value.problems[0]


def test_all_of_them(file: Path) -> None:
    token = '[auth.token]\nrealm = "https://id.example/token"\nservice = "s"\nissuer = "i"\nkeys = "k.pem"\n'
    file.write_text('[auth]\nhtpasswd = "people"\n' + LDAP + OIDC + token)
    auth = load(file).auth
    assert auth.htpasswd == "people"
    assert auth.ldap.bind_password.get_secret_value() == "geheim"
    assert auth.oidc[0].rules == (
        ClaimRule(claims={"repository": "team/app", "protected": True}, account="ci-team-app"),
    )
    assert auth.token.service == "s"
    assert "geheim" not in repr(auth)


def test_a_worker_is_given_the_secrets_and_config_show_is_not(file: Path) -> None:
    file.write_text(LDAP + OIDC)
    handed_on = Settings(**json.loads(load(file).model_dump_json()))
    assert handed_on.auth == load(file).auth
    shown = {line.key: line.value for line in show(file)}
    assert shown["auth.ldap.bind_password"] == "(hidden)"
    assert shown["auth.oidc"][0]["client_secret"] == "(hidden)"  # type: ignore[index]
    assert "geheim" not in json.dumps(shown)


def test_a_secret_from_the_environment_joins_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(LDAP.replace('bind_password = "geheim"', ""))
    with pytest.raises(ConfigError, match="go together"):
        load(file)
    monkeypatch.setenv("SHOAL_AUTH__LDAP__BIND_PASSWORD", "from-outside")
    ldap = load(file).auth.ldap
    assert (ldap.url, ldap.bind_password.get_secret_value()) == ("ldaps://ldap.example", "from-outside")


def test_issuers_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_AUTH__OIDC", '[{"issuer": "https://id.example", "client_id": "shoal"}]')
    assert load().auth.oidc[0].client_id == "shoal"
    monkeypatch.setenv("SHOAL_AUTH__OIDC", '[{"issuer": "https://id.example", "client_secret": "geheim"')
    with pytest.raises(ConfigError, match=r"SHOAL_AUTH__OIDC: .*list of them as JSON") as caught:
        load()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (('issuer = "https://id.example"', ""), "auth.oidc.0.issuer: is missing"),
        (("https://id.example", "http://id.example"), "expected https"),
        (("https://id.example", "id.example"), "expected the URL of an issuer"),
        (("https://id.example", "https://user:pass@id.example"), "expected the URL of an issuer"),
        (('audience = "shoal"', ""), "audience is missing: a token made for another service would do here"),
        (("client_secret", "client_secrets"), "auth.oidc.0.client_secrets: unknown key; did you mean client_secret?"),
        (("claims = {", "claim = {}, claims = {"), "auth.oidc.0.rules.0.claim: unknown key; did you mean claims?"),
        (('repository = "team/app", protected = true', ""), "auth.oidc"),  # no claims at all: everybody
        (('client_secret = "geheim"', "client_secret = 5"), "client_secret: "),
    ],
)
def test_bad_issuers(file: Path, changed: tuple[str, str], said: str) -> None:
    assert said in problem(file, OIDC.replace(*changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("ldaps://ldap.example", "ldap://ldap.example"), "would send passwords in the clear"),
        (("ldaps://ldap.example", "http://ldap.example"), 'expected "ldaps://HOST'),
        (("ldaps://ldap.example", "ldaps://"), 'expected "ldaps://HOST'),
        (('base = "dc=example"', ""), "auth.ldap.base: is missing"),
        (('base = "dc=example"', 'base = "dc=example"\nuser_filter = "(uid=x)"'), "everybody would be the same"),
        (('base = "dc=example"', 'base = "dc=example"\nstart_tls = true'), "encrypted from the first byte"),
        (("bind_dn", "bind_password = 'geheim'\nbind_nd"), "not valid TOML"),
    ],
)
def test_bad_directories(file: Path, changed: tuple[str, str], said: str) -> None:
    assert said in problem(file, LDAP.replace(*changed))


def test_plain_ldap_on_this_machine_or_with_start_tls(file: Path) -> None:
    for url in ("ldap://127.0.0.1:389", "ldap://localhost", "ldap://[::1]"):
        file.write_text(LDAP.replace("ldaps://ldap.example", url))
        assert load(file).auth.ldap.url == url
    file.write_text(LDAP.replace("ldaps://", "ldap://") + "start_tls = true\n")
    assert load(file).auth.ldap.start_tls


def test_the_examples_of_the_docs(file: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "access-outside.md").read_text()
    examples = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    assert len(examples) == 5
    for example in examples:
        file.write_text(example.replace('bind_password = ""', 'bind_password = "geheim"'))
        load(file)


def test_half_of_a_token_service(file: Path) -> None:
    assert "realm, service, issuer and keys go together" in problem(
        file, '[auth.token]\nrealm = "https://id.example"\n'
    )
