"""What the settings of a bucket tell, and what they keep to themselves."""

from __future__ import annotations

import pytest

from registry.errors import StartupError
from registry.storage.s3.settings import StoreSettings


def test_no_message_shows_a_secret() -> None:
    settings = StoreSettings("bucket", secret_key="geheim", proxy="https://user:geheim@proxy:3128")
    assert "geheim" not in repr(StoreSettings("bucket", secret_key="geheim"))
    with pytest.raises(StartupError, match=r"https://user:\(hidden\)@proxy:3128 is no address of a proxy"):
        settings.checked()
