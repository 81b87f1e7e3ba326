"""What goes between a worker and its node, where one side sends what the other cannot take."""

from __future__ import annotations

import pytest

from registry.auth.people import Return
from registry.domain.access import Principal
from registry.domain.changes import ForgetGarbage
from registry.errors import StorageFailure
from registry.services.leases import LocalLeases
from registry.storage.memory.metadata import MemoryMetadata
from tests.contracts.adapters import ManualClock, Nobody, worker_of

BACK = Return("https://id.example", "code", "", "verifier", "nonce", "https://shoal.example/auth/callback")


async def test_an_answer_that_cannot_be_sent_fails_one_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_text(_self: Nobody, _back: Return) -> Principal:
        return Principal("ann", ("\ud800",))

    monkeypatch.setattr(Nobody, "who_came", no_text)
    async with worker_of(MemoryMetadata(ManualClock()), LocalLeases()) as worker:
        with pytest.raises(StorageFailure):
            await worker.who_came(BACK)
        assert (await worker.submit(ForgetGarbage(()))).changed
