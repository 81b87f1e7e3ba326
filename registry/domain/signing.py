"""Which repositories serve only images that are signed, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from registry.domain.patterns import fits


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """Images of the repositories that `pattern` stands for are served once one of these has signed them.

    `keys`: public keys, `trust`: certificates that notation's chains pass; each a text with one or more PEM blocks.
    `name` is what a client is told that is refused; `pattern` is one as of registry.domain.access.
    """

    name: str
    pattern: str
    keys: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()

    def covers(self, repository: str) -> bool:
        return fits(self.pattern, repository)


def signature_tag(digest: str) -> str:
    """The tag under which cosign keeps the signatures of an image ("Tag-based Discovery" of its specification)."""
    algorithm, _, hexadecimal = digest.partition(":")
    return f"{algorithm}-{hexadecimal}.sig"
