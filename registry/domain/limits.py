"""What repositories may take: bytes, tags, and tags that stay as they are; no I/O.

A limit is on all repositories that fit a pattern, together: a project. A blob that several of them have counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from registry.domain.patterns import fits, parse_pattern
from registry.errors import AccessInvalid, LimitReached

_TAG_PATTERN = re.compile(r"[a-zA-Z0-9_*?][a-zA-Z0-9._*?-]{0,127}")


@dataclass(frozen=True, slots=True)
class Limit:
    """`bytes`, `tags`: the most of all repositories of the pattern, None without limit. `immutable`: patterns of tags
    that point at one manifest for ever, such as `v*`."""

    pattern: str
    bytes: int | None = None
    tags: int | None = None
    immutable: tuple[str, ...] = ()


def parse_project(text: str) -> str:
    """A pattern that limits are made for: the name of one repository, all below a name (`team/**`), or all (`**`).

    What they take together is counted in the database, which can do that for such patterns. Raises AccessInvalid.
    """
    if text != "**":
        parse_pattern(text)
        if "*" in text.removesuffix("/**"):
            raise AccessInvalid("a limit is for one repository, for all below a name (team/**) or for all (**)")
    return text


def range_of(project: str) -> tuple[str, str]:
    """The names of a project's repositories as a range in bytewise order: from the first to before the second."""
    if project == "**":
        return "", "~"
    if project.endswith("/**"):
        name = project.removesuffix("/**")
        return f"{name}/", f"{name}0"  # what comes after a slash in ASCII
    return project, f"{project} "  # a blank comes before every character of a name


def parse_tag_pattern(text: str) -> str:
    """Raises AccessInvalid."""
    if not _TAG_PATTERN.fullmatch(text):
        raise AccessInvalid("a pattern of tags is a tag, in which * and ? stand for anything", {"pattern": text[:200]})
    return text


def of_repository(limits: Iterable[Limit], repository: str) -> list[Limit]:
    return [limit for limit in limits if fits(limit.pattern, repository)]


def check_bytes(limit: Limit, used: int, more: int) -> None:
    """Raises LimitReached where `more` bytes do not fit any more."""
    if limit.bytes is not None and used + more > limit.bytes:
        raise LimitReached(
            f"the quota of {limit.pattern} is {limit.bytes:,} bytes, of which {used:,} are used: delete images, or ask "
            "an administrator for more",
            {"limit": limit.pattern, "bytes": limit.bytes, "used": used, "needed": more},
        )


def check_tags(limit: Limit, used: int, more: int) -> None:
    """Raises LimitReached."""
    if more and limit.tags is not None and used + more > limit.tags:
        raise LimitReached(
            f"the limit of {limit.pattern} is {limit.tags:,} tags, and there are {used:,}: delete some first",
            {"limit": limit.pattern, "tags": limit.tags, "used": used},
        )


def check_mutable(limits: Iterable[Limit], tags: Iterable[str]) -> None:
    """Whether tags that exist may be moved or removed. Raises LimitReached."""
    for limit in limits:
        for tag in tags:
            rule = next((pattern for pattern in limit.immutable if fnmatchcase(tag, pattern)), None)
            if rule is not None:
                raise LimitReached(
                    f"the tag {tag} is immutable: tags {rule} of {limit.pattern} stay what they are",
                    {"tag": tag, "limit": limit.pattern, "immutable": rule},
                )
