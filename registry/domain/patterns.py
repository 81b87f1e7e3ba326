"""Patterns of repositories' names: `team/**`, `*/base`, `**`."""

from __future__ import annotations

import re
from functools import lru_cache

from registry.errors import AccessInvalid

_PATTERN = re.compile(r"[a-z0-9*][a-z0-9._*/-]{0,254}")
_WILDCARD = re.compile(r"\*+")
_MOST_WILDCARDS = 3  # each more multiplies the time that a name can take which nearly fits


def parse_pattern(text: str) -> str:
    """The pattern itself: a name of a repository in which `*` stands for anything but a slash, `**` for anything."""
    if not _PATTERN.fullmatch(text) or "***" in text or "//" in text or text.endswith("/"):
        raise AccessInvalid(
            "a pattern is the name of a repository, where * stands for some of one part and ** for any parts: team/**",
            {"pattern": text[:300]},
        )
    if len(_WILDCARD.findall(text)) > _MOST_WILDCARDS:
        raise AccessInvalid(f"a pattern has at most {_MOST_WILDCARDS} of * and **", {"pattern": text[:300]})
    return text


@lru_cache(maxsize=65536)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    meaning = {"**/": "(?:[^/]+/)*", "**": ".+", "*": "[^/]*"}
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts))


def fits(pattern: str, repository: str) -> bool:
    """Whether a repository's name is one that a pattern stands for."""
    if "*" not in pattern:
        return pattern == repository
    return _compiled(pattern).fullmatch(repository) is not None
