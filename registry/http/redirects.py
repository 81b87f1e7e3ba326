"""Which clients fetch a blob from the object store by themselves; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Literal

Mode = Literal["always", "never", "auto"]


@dataclass(frozen=True, slots=True)
class Redirects:
    """`always`, `never`, or `auto`: all clients but those in `stream_networks`.

    These are the networks whose clients cannot reach the store, or do not follow redirects. With none, `auto` is
    `always`: whoever chose it said that clients reach the store, and only knows who does not.
    """

    mode: Mode
    stream_networks: Sequence[IPv4Network | IPv6Network]
    trusted_proxies: Sequence[IPv4Network | IPv6Network]

    def wanted(self, client: str) -> bool:
        """`client`: the address that asks; one that cannot be read is served here."""
        if self.mode != "auto":
            return self.mode == "always"
        try:
            address = ip_address(client)
        except ValueError:
            return False
        # A proxy may write an IPv4 address in the form of IPv6 (RFC 4291, section 2.5.5.2).
        address = getattr(address, "ipv4_mapped", None) or address
        return not any(address in network for network in self.stream_networks)
