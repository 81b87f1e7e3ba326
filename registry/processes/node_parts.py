"""What is one per node, as every process of it uses it: directly in the node, over the channel in a worker."""

from __future__ import annotations

from dataclasses import dataclass

from registry.auth.logins import Logins
from registry.auth.people import People
from registry.ports import Audit, Changes, Leases
from registry.ports.above import Above
from registry.ports.slaves import Slaves
from registry.ports.succession import Succession


@dataclass(frozen=True, slots=True)
class NodeParts:
    """The writer of changes, the leases of digests, the comparing of passwords, the issuers, the audit log, what slaves
    report, who writes the log, and of a slave the registry above it."""

    changes: Changes
    leases: Leases
    logins: Logins
    people: People
    audit: Audit
    slaves: Slaves
    succession: Succession
    above: Above | None = None
