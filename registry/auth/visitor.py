"""Who sends a request, and what that allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.domain.access import NOBODY, RIGHTS, AccessTable, Principal, Replica

CATALOG, ADMIN = "registry:catalog", "registry:admin"
"""Scopes that are for no repository: none can have such a name."""
Scopes = Mapping[str, frozenset[str]]
"""What a token is for: rights by the name of a repository, and CATALOG or ADMIN by themselves."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A principal with the table of the moment. `scopes`: of the token that was shown; None where there was none."""

    principal: Principal
    table: AccessTable
    scopes: Scopes | None = None
    is_open: bool = False
    """There are no accounts: everybody may do everything."""
    is_foreign: bool = False
    """A token service outside of the registry says what is allowed; grants of ours say nothing."""
    has_expired: bool = False
    """The token's time is over; it is good for the end of an upload that its owner began."""
    session_ends: float | None = None
    """Seconds since the epoch, when the session of a browser is over that says who it is; None where none does."""
    replica: Replica | None = None
    """The slave whose replication token was shown. It may replicate, and nothing else."""

    @property
    def name(self) -> str:
        return "" if self.is_open else self.principal.name

    def rights(self, repository: str) -> frozenset[str]:
        """Decided by the name alone, whether or not there is such a repository."""
        if self.is_open:
            return frozenset(RIGHTS)
        if self.is_foreign:
            allowed = (self.scopes or {}).get(repository, frozenset())
            return frozenset(RIGHTS) if "*" in allowed else allowed & frozenset(RIGHTS)
        found = self.table.rights(self.principal, repository)
        return found if self.scopes is None else found & self.scopes.get(repository, frozenset())

    def may(self, right: str, repository: str) -> bool:
        if self.is_open or self.is_foreign:
            return right in self.rights(repository)
        # as `rights` says it, without a set of them: every request comes by here
        in_scope = self.scopes is None or right in self.scopes.get(repository, ())
        return in_scope and right in self.table.rights(self.principal, repository)

    def may_list(self, repository: str) -> bool:
        """Whether a list of repositories shows this one; a token for the catalog needs no scope for each of them."""
        if self.is_open or self.is_foreign:
            return True
        return "pull" in self.table.rights(self.principal, repository)

    @property
    def may_ask_for_lists(self) -> bool:
        if self.is_open:
            return True
        if self.is_foreign:
            return CATALOG in (self.scopes or {})
        return self.table.sees_anything(self.principal) and (self.scopes is None or CATALOG in self.scopes)

    @property
    def may_administer(self) -> bool:
        if self.is_open:  # everybody may push where there are no accounts, but only the operator can make the first
            return not self.principal.is_anonymous
        return (
            not self.is_foreign
            and self.table.is_admin(self.principal)
            and (self.scopes is None or ADMIN in self.scopes)
        )

    @property
    def may_replicate(self) -> bool:
        """An administrator may not: whoever copies everything for good is named for it."""
        return self.is_open or self.replica is not None

    @property
    def may_promote(self) -> bool:
        """Whether it may end a master. Where there are no accounts, anybody may change anything."""
        return self.is_open or (self.replica is not None and self.replica.may_promote)

    def is_slave_still(self, table: AccessTable) -> bool:
        """Whether somebody who was let in to replicate would be let in by the table of now."""
        if self.replica is None:
            return self.is_open and table.is_empty
        return table.replicas.get(self.replica.name) == self.replica


CLOSED = Visitor(NOBODY, AccessTable())
"""Somebody whom no gate has let in: may do nothing."""

OPEN = Visitor(NOBODY, AccessTable(), is_open=True)
"""Everybody, where there are no accounts."""
