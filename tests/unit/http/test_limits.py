"""How much one client may ask."""

from __future__ import annotations

import pytest

from registry.errors import TooManyRequests
from registry.http.limits import ClientLimits, MostRequests


class Shared:
    """Rates that several nodes share; `answer` None: they cannot be asked."""

    def __init__(self, answer: float | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def take(self, key: str, rate: float, burst: float) -> float | None:
        self.asked.append(key)
        return self.answer


def limits(shared: Shared | None = None, now: float = 0.0, **most: float) -> ClientLimits:
    return ClientLimits(MostRequests(**most), 1, lambda: now, shared)  # type: ignore[arg-type]


async def test_a_burst_and_then_the_rate() -> None:
    times = [0.0]
    counted = ClientLimits(MostRequests(account_rate=2, burst=3), 1, lambda: times[0], None)
    for _ in range(3):
        await counted.take_account("ann")
    with pytest.raises(TooManyRequests, match="account ann") as refused:
        await counted.take_account("ann")
    assert refused.value.after == pytest.approx(0.5)
    await counted.take_account("bob")
    times[0] += 0.5
    await counted.take_account("ann")
    with pytest.raises(TooManyRequests):
        await counted.take_account("ann")


async def test_without_limits_nobody_is_asked() -> None:
    shared = Shared(9.0)
    counted = limits(shared)
    for _ in range(1000):
        await counted.take_account("ann")
        await counted.take_address("192.0.2.1")
    assert not shared.asked


async def test_all_nodes_count_together_where_they_can() -> None:
    shared = Shared(2.5)
    with pytest.raises(TooManyRequests) as refused:
        await limits(shared, account_rate=1, burst=5).take_account("ann")
    assert refused.value.after == 2.5


async def test_where_nobody_answers_this_process_counts() -> None:
    counted = limits(Shared(None), address_rate=1, burst=2)
    await counted.take_address("192.0.2.1")
    await counted.take_address("192.0.2.1")
    with pytest.raises(TooManyRequests):
        await counted.take_address("192.0.2.1")


def test_uploads_at_the_same_time() -> None:
    counted = limits(uploads=2)
    with (
        counted.uploading("ann"),
        counted.uploading("ann"),
        counted.uploading("bob"),
        pytest.raises(TooManyRequests, match="2 uploads"),
        counted.uploading("ann"),
    ):
        raise AssertionError
    with counted.uploading("ann"), counted.uploading("ann"):
        pass


async def test_the_addresses_of_one_machine_are_one() -> None:
    counted = limits(address_rate=1, burst=1)
    await counted.take_address("2001:db8::1")
    with pytest.raises(TooManyRequests, match="address 2001:db8::/64"):
        await counted.take_address("2001:db8::ffff:2")
    await counted.take_address("2001:db8:0:1::1")
