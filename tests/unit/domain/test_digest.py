"""Digests."""

import hashlib

import pytest

from registry.domain.digest import ALGORITHMS, Digest, check_algorithm
from registry.errors import DigestInvalid

HEX = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_reads_what_it_writes(algorithm: str) -> None:
    digest = Digest.of(b"some content", algorithm)
    assert digest.hex == hashlib.new(algorithm, b"some content").hexdigest()
    assert Digest.parse(str(digest)) == digest


def test_both_algorithms_are_known_and_sha256_comes_first() -> None:
    assert set(ALGORITHMS) == {"sha256", "sha512"}
    assert Digest.of(b"").algorithm == "sha256"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        ":" + HEX,
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{HEX[:-1]}٣",
        f"sha512:{HEX}",
        f"sha384:{'0' * 96}",
        f"md5:{'0' * 32}",
        f"sha256+b64:{HEX}",
        f"sha256:../{HEX[3:]}",
        "sha256:sha256:" + HEX[7:],
        "\x00",
        "sha256:" + "a" * 100_000,
    ],
)
def test_refuses_what_is_none(text: str) -> None:
    with pytest.raises(DigestInvalid) as refusal:
        Digest.parse(text)
    assert len(str(refusal.value.detail)) < 600


def test_an_algorithm_of_the_grammar_that_is_not_supported_is_told_as_such() -> None:
    with pytest.raises(DigestInvalid, match="not supported; use sha256 or sha512"):
        Digest.parse(f"blake3:{HEX}")


def test_algorithm_names() -> None:
    assert [check_algorithm(name) for name in ALGORITHMS] == list(ALGORITHMS)
    for name in ("", "SHA256", "md5", "sha256 "):
        with pytest.raises(DigestInvalid):
            check_algorithm(name)
