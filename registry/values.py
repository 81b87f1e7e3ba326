"""The forms in which settings are written: addresses, times, sizes, networks, URLs.

Each function takes what a TOML file, a variable or a flag may hold, and raises a ValueError that says what is expected.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = (
    {"B": 1}
    | {f"{p}B": 1000**n for n, p in enumerate("kMGT", 1)}
    | {f"{p}iB": 1024**n for n, p in enumerate("KMGT", 1)}
)
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host name or IP address, and a port (0 lets the system choose)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can connect."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(value: object) -> Address:
    """Read `127.0.0.1:5000`, `[::1]:5000` or `localhost:5000`. Raises ValueError."""
    if isinstance(value, Address):
        return value
    expected = ValueError('expected HOST:PORT, such as "127.0.0.1:5000" or "[::1]:5000"')
    if not isinstance(value, str):
        raise expected
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):(\d{1,5})", value)
    if match is None or int(match[3]) > 65535:
        raise expected
    if match[1] is not None:
        try:
            ip_address(match[1])
        except ValueError:
            raise expected from None
    return Address(match[1] or match[2], int(match[3]))


def parse_addresses(value: object) -> tuple[Address, ...]:
    """Read one address, a list of them, or a text with commas between them. Raises ValueError."""
    if isinstance(value, str | Address):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError('expected HOST:PORT, or a list such as ["127.0.0.1:5000", "[::1]:5000"]')
    parts = [
        text for part in value for text in (re.split(r"[\s,]+", part.strip()) if isinstance(part, str) else [part])
    ]
    addresses = tuple(parse_address(part) for part in parts)
    if not addresses:
        raise ValueError("expected one HOST:PORT at least")
    if double := next((address for address in addresses if address.port and addresses.count(address) > 1), None):
        raise ValueError(f"expected each address once; {double} is there twice")
    return addresses


def parse_seconds(value: object) -> float:
    """Read a number of seconds, or a text such as `250ms`, `30s`, `5m`, `1h` or `7d`. Raises ValueError."""
    seconds = _quantity(value, _SECONDS)
    if seconds is None:
        raise ValueError('expected a time such as "30s", "5m", "1h" or "7d", or a number of seconds')
    return float(seconds)


def parse_bytes(value: object) -> int:
    """Read a number of bytes, or a text such as `500MB` (of 1000^2) or `256MiB` (of 1024^2). Raises ValueError."""
    size = _quantity(value, _BYTES)
    if size is None or size != int(size):
        raise ValueError('expected a size such as "256MiB", "1GiB" or "500MB", or a whole number of bytes')
    return int(size)


def _quantity(value: object, units: Mapping[str, float]) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if math.isfinite(value) and value >= 0 else None
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    number = float(match[1]) if "." in match[1] else int(match[1])
    folded = {name.lower(): factor for name, factor in units.items()}
    factor = folded.get(match[2].lower()) if match[2] else 1
    return None if factor is None else number * factor


def parse_networks(value: object) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read a list of networks, or a text with commas between them: `10.0.0.0/8, ::1`. Raises ValueError."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,]+", value) if part]
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of IP networks such as ["10.0.0.0/8", "::1"]')
    networks = []
    for part in value:
        try:
            networks.append(part if isinstance(part, IPv4Network | IPv6Network) else ip_network(str(part)))
        except ValueError as error:
            raise ValueError(f'expected a list of IP networks such as ["10.0.0.0/8", "::1"]: {error}') from None
    return tuple(networks)


def parse_public_url(value: object) -> str:
    """Read the `http(s)://host[:port]` under which clients reach the registry. Raises ValueError."""
    expected = ValueError("expected http(s)://HOST[:PORT] with no path (the protocol lives at /v2/ of the host)")
    if not isinstance(value, str):
        raise expected
    try:
        url = urlsplit(value)
        valid = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        raise expected from None
    if not valid or url.path.strip("/") or url.query or url.fragment or "@" in url.netloc or not value.isprintable():
        raise expected
    return f"{url.scheme}://{url.netloc}"


def parse_database_url(value: object) -> str:
    """Read `postgresql://USER:PASSWORD@HOST:PORT/NAME`; "" and `sqlite` stand for the file in the data directory.

    Raises ValueError.
    """
    expected = 'expected a URL such as "postgresql://shoal@127.0.0.1:5432/shoal", or nothing for SQLite in the data'
    if not isinstance(value, str):
        raise ValueError(expected)
    if value in ("", "sqlite", "sqlite://"):
        return ""
    scheme, _, rest = value.partition("://")
    if scheme == "sqlite":
        raise ValueError("expected no path: the file is shoal.db in the data directory (--data)")
    parts = _split(value, expected)
    if scheme != "postgresql" or not rest or len(parts.path) < 2 or "/" in parts.path[1:]:
        raise ValueError(expected)
    return value


def parse_redis_url(value: object) -> str:
    """Read `redis://:PASSWORD@HOST:PORT/0`; "" stands for none. Raises ValueError."""
    expected = 'expected a URL such as "redis://127.0.0.1:6379/0"'
    if not isinstance(value, str):
        raise ValueError(expected)
    if value and (_split(value, expected).scheme not in ("redis", "rediss", "unix") or "://" not in value):
        raise ValueError(expected)
    return value


def _split(url: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(expected) from None
    return parts


def without_password(text: str) -> str:
    """The same text with every password in a URL hidden."""
    text = re.sub(r"(://[^\s:/@]*):[^\s/]*@", r"\1:(hidden)@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s'\"]*", r"\1(hidden)", text)
