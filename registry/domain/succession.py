"""Who writes the log: how a slave takes the place of its master, as values and decisions; no I/O.

An epoch is a number and a random id. Taking the master's place begins the next one; whoever learns of a higher epoch
that goes on from its own log takes nothing any more.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from registry.errors import ReadOnly, RegistryError, SucceededAlready, Unavailable

LONGEST_HANDOVER = 300.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One has taken the place of the master. Its epoch, `number` and `id`, goes on after the event `after` with that
    `chain` (hexadecimal); `url`: where it takes pushes."""

    number: int
    id: str
    after: int
    chain: str
    url: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Who writes the log that this node has, as its database remembers it.

    `promoted`: this node does, since it took the place of the one above it; `claim` says with which epoch, and
    `former` are the addresses where that one may be, as long as nobody there was told. With a `claim` and not
    `promoted` another node has taken the place of this one, which takes nothing any more; `common`: the last event
    that both have. `handing_over`: until then nothing is taken, as another node is about to take over; seconds since
    the epoch.
    """

    claim: Claim | None = None
    promoted: bool = False
    former: tuple[str, ...] = ()
    common: int = 0
    handing_over: float = 0.0

    @property
    def is_former(self) -> bool:
        """Whether another node has taken the place of this one."""
        return self.claim is not None and not self.promoted

    def refusal(self, now: float) -> RegistryError | None:
        """What a client is told that wants to change something; None where it may."""
        if self.is_former and self.claim is not None:
            to = self.claim.url or "the new master"
            return ReadOnly(f"another registry has taken the place of this one: push to {to} instead", {"master": to})
        if now < self.handing_over <= now + LONGEST_HANDOVER:  # else the clock was set back meanwhile
            return Unavailable("another registry is about to take the place of this one: try again in a minute")
        return None

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | None) -> Standing:
        fields = json.loads(text) if text else {}
        claim, former = fields.pop("claim", None), tuple(fields.pop("former", ()))
        return cls(claim=Claim(**claim) if claim else None, former=former, **fields)


def give_way(standing: Standing, epoch: int, claim: Claim, chain: str | None) -> Standing:
    """The standing of a node whose log has this `epoch` once it has heard the claim.

    `chain`: of its own event `claim.after`, None where it has none. Raises SucceededAlready where the claim does not
    count: two nodes that took over with the same number are told apart by their ids.
    """
    known = standing.claim
    if known is not None and known.number == claim.number:
        if known.id == claim.id:
            return standing
        raise SucceededAlready(
            f"another node has begun epoch {known.number} already: {known.url or known.id}",
            {"epoch": known.number, "id": known.id, "master": known.url},
        )
    if claim.number <= max(epoch, known.number if known else 0):
        raise SucceededAlready(f"the log is in epoch {epoch} here", {"epoch": epoch})
    if chain != claim.chain:
        raise SucceededAlready("the epoch does not go on from the log of this node", {"after": claim.after})
    return Standing(claim, common=claim.after)


def told(standing: Standing, address: str) -> Standing:
    """Who is at this address knows it."""
    return replace(standing, former=tuple(other for other in standing.former if other != address))
