"""Names of repositories and tags (OCI distribution specification, "Pulling manifests")."""

from __future__ import annotations

import re
from functools import lru_cache

from registry.domain.digest import Digest
from registry.errors import NameInvalid, TagInvalid

MAX_REPOSITORY_LENGTH = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

Reference = str | Digest
"""A tag, or a digest."""


@lru_cache(maxsize=4096)
def parse_repository(text: str) -> str:
    """The name itself, where it is a valid repository name; else raises NameInvalid."""
    if len(text) > MAX_REPOSITORY_LENGTH:
        raise NameInvalid(f"a repository name has at most {MAX_REPOSITORY_LENGTH} characters", {"name": text[:300]})
    if not is_repository(text):
        raise NameInvalid(
            "a repository name is lower-case letters and digits, separated by one of '.', '_', '__', '-' or '/'",
            {"name": text},
        )
    return text


def is_repository(text: str) -> bool:
    return len(text) <= MAX_REPOSITORY_LENGTH and _REPOSITORY.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def parse_tag(text: str) -> str:
    """The tag itself, where it is valid; else raises TagInvalid."""
    if not _TAG.fullmatch(text):
        raise TagInvalid(
            "a tag is at most 128 of letters, digits, '_', '.' and '-', and does not begin with '.' or '-'",
            {"tag": text[:256]},
        )
    return text


def parse_reference(text: str) -> Reference:
    """A tag or a digest: only a digest has a colon. Raises TagInvalid or DigestInvalid."""
    return Digest.parse(text) if ":" in text else parse_tag(text)


def referrers_tag(subject: Digest) -> str:
    """The tag of the fall-back list of referrers ("Referrers Tag Schema")."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"
