"""What of an address is one client's; no I/O."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address

_HOST_BITS = 64


def network_of(address: str) -> str:
    """What is counted where an address is: of IPv6 the first half, as one machine has all of the other (RFC 4291)."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except AddressValueError:
        return address
    return f"{IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"
