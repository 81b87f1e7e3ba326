"""The settings [[signatures]]: what they may say, what is told of a bad one, and how they reach other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.config import ConfigError, Settings, load, show
from registry.wiring import policies_of
from tests.harness.signing import new_key, new_signer, public_pem

KEY, SIGNER = new_key(), new_signer()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of settings, in the directory that paths in it begin in."""
    monkeypatch.chdir(tmp_path)
    Path("release.pub").write_text(public_pem(KEY))
    Path("root.pem").write_text(SIGNER.root_pem)
    return tmp_path / "shoal.toml"


def problem(file: Path, toml: str) -> str:
    file.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert len(caught.value.problems) == 1, caught.value.problems
    assert "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


GOOD = """
[[signatures]]
name = "releases"
pattern = "team/**"
keys = ["release.pub"]
trust = ["root.pem"]

[[signatures]]
name = "audit"
pattern = "team/app"
keys = ["release.pub"]
"""


def test_policies_of_a_repository(file: Path) -> None:
    file.write_text(GOOD)
    policies = policies_of(load(file))
    assert policies is not None
    found = policies.for_repository("team/app")
    assert [each.name for each in found] == ["releases", "audit"]
    assert (found[0].keys, found[0].trust) == ((public_pem(KEY),), (SIGNER.root_pem,))
    assert [each.name for each in policies.for_repository("team/deep/app")] == ["releases"]
    assert policies.for_repository("other/app") == ()
    assert policies.for_repository("team/app") is found


def test_without_them_nothing_is_checked(file: Path) -> None:
    file.write_text("")
    assert policies_of(load(file)) is None


def test_a_worker_gets_what_the_node_has_read(file: Path) -> None:
    file.write_text(GOOD)
    sent = load(file).model_dump_json()
    Path("release.pub").unlink()
    assert Settings.model_validate_json(sent).signatures[0].policy.keys == (public_pem(KEY),)


def test_they_are_shown_by_their_files(file: Path) -> None:
    file.write_text(GOOD)
    shown = {item.key: item.value for item in show(file)}
    assert shown["signatures"] == ["releases: team/** by release.pub, root.pem", "audit: team/app by release.pub"]


def entry(name: str = '"a"', pattern: str = '"team/**"', keys: str = '["release.pub"]', more: str = "") -> str:
    return f"[[signatures]]\nname = {name}\npattern = {pattern}\nkeys = {keys}\n{more}\n"


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (
            entry(keys='["absent.pub"]'),
            "signatures.0.keys: got 'absent.pub', expected a file in PEM; it cannot be read",
        ),
        (entry(keys='["."]'), "signatures.0.keys: got '.', expected a file in PEM; it cannot be read: Is a directory"),
        (
            entry(keys='["root.pem"]'),
            "signatures 'a': root.pem: it holds a CERTIFICATE, where a PUBLIC KEY is expected",
        ),
        (
            entry(more='trust = ["release.pub"]'),
            "signatures 'a': release.pub: it holds no certificate that can be read",
        ),
        (entry(keys="[]"), "signatures 'a': keys, trust or both have to name a file"),
        (entry(keys='"release.pub"'), "signatures.0.keys: got 'release.pub', expected a list of files"),
        (entry(keys="[5]"), "signatures.0.keys: got 5, expected the path of a file in PEM"),
        (entry(pattern='"Team/**"'), "signatures.0.pattern: got 'Team/**', expected a pattern of repositories"),
        (entry(pattern="5"), "signatures.0.pattern: got 5, expected a pattern of repositories"),
        (entry(name='""'), "signatures.0.name: got ''"),
        (entry(name='"a\\nb"'), "signatures.0.name: got"),
        (entry(more="kyes = []"), "signatures.0.kyes: unknown key; did you mean keys?"),
        ('[[signatures]]\nname = "a"\nkeys = ["release.pub"]', "signatures.0.pattern: is missing"),
        (entry() * 2, "two policies have this name"),
        ("signatures = 5", "signatures: got 5, expected policies in the file of settings"),
        ("[signatures]\nname = 'a'", "expected policies in the file of settings, each under a line [[signatures]]"),
    ],
)
def test_bad_ones(file: Path, toml: str, expected: str) -> None:
    assert expected in problem(file, toml)


def test_private_keys_are_refused(file: Path) -> None:
    Path("cosign.key").write_text(
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
    )
    assert "cosign.key: it holds a private key" in problem(file, entry(keys='["cosign.key"]'))


def test_they_are_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_SIGNATURES", "[]")
    with pytest.raises(ConfigError, match="SHOAL_SIGNATURES: got '\\[\\]', expected policies in the file"):
        load()
