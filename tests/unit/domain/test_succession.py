"""Who writes the log: which claims count, and what clients are told."""

from __future__ import annotations

import pytest

from registry.domain.succession import Claim, Standing, give_way, told
from registry.errors import ReadOnly, SucceededAlready, Unavailable

CLAIM = Claim(2, "id-of-2", 10, "chain of 10", "https://new.example")


def test_who_writes_refuses_nothing() -> None:
    assert Standing().refusal(0.0) is None
    assert Standing(CLAIM, promoted=True).refusal(0.0) is None
    assert not Standing(CLAIM, promoted=True).is_former


def test_a_former_master_names_the_new_one() -> None:
    refusal = Standing(CLAIM).refusal(0.0)
    assert isinstance(refusal, ReadOnly)
    assert "push to https://new.example instead" in refusal.message


def test_a_handover_ends_by_itself() -> None:
    standing = Standing(handing_over=100.0)
    assert isinstance(standing.refusal(99.0), Unavailable)
    assert standing.refusal(100.0) is None
    assert Standing(handing_over=1e9).refusal(99.0) is None, "the clock was set back"


@pytest.mark.parametrize(
    "standing",
    [Standing(), Standing(CLAIM), Standing(CLAIM, promoted=True, former=("http://a",), common=3, handing_over=1.5)],
)
def test_a_standing_is_kept_as_text(standing: Standing) -> None:
    assert Standing.of(standing.to_text()) == standing
    assert Standing.of(None) == Standing()


def test_a_claim_that_goes_on_from_the_own_log() -> None:
    after = give_way(Standing(handing_over=50.0), 1, CLAIM, "chain of 10")
    assert after == Standing(CLAIM, common=10)
    assert give_way(after, 1, CLAIM, "chain of 10") == after, "it is told again where the answer was lost"


@pytest.mark.parametrize(
    ("standing", "epoch", "chain"),
    [
        pytest.param(Standing(), 1, "another chain", id="another registry"),
        pytest.param(Standing(), 1, None, id="further than the own log"),
        pytest.param(Standing(), 2, "chain of 10", id="an epoch that has begun already"),
        pytest.param(Standing(Claim(2, "other", 9, "c", "")), 1, "chain of 10", id="two hasty promotions"),
        pytest.param(Standing(Claim(3, "other", 9, "c", "")), 1, "chain of 10", id="a later one came before"),
        pytest.param(Standing(Claim(2, "own", 9, "c", ""), promoted=True), 2, "chain of 10", id="promoted itself"),
    ],
)
def test_claims_that_do_not_count(standing: Standing, epoch: int, chain: str | None) -> None:
    with pytest.raises(SucceededAlready):
        give_way(standing, epoch, CLAIM, chain)


def test_a_higher_epoch_counts_after_another_one() -> None:
    later = Claim(3, "id-of-3", 10, "chain of 10", "")
    assert give_way(Standing(CLAIM, common=10), 1, later, "chain of 10") == Standing(later, common=10)


def test_told() -> None:
    both = Standing(CLAIM, promoted=True, former=("http://a", "http://b"))
    assert told(both, "http://a") == Standing(CLAIM, promoted=True, former=("http://b",))
    assert told(told(both, "http://a"), "http://b") == Standing(CLAIM, promoted=True)
