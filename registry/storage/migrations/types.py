"""Types of columns as all versions have used them so far. A type that changes gets a new name here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer
from sqlalchemy import Text as AnyText

Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")
Whole = BigInteger().with_variant(Integer, "sqlite")
