"""The keys that sign tokens."""

from __future__ import annotations

from registry.api.operation import Administration, Answer, Asked, Operation, page
from registry.api.shapes import Rotation, SigningKey, SigningKeys


async def _list_keys(to: Administration, asked: Asked) -> Answer[SigningKeys]:
    known = sorted((await to.accounts.table()).keys.values(), key=lambda key: key.id)
    shown, last = page(known, asked.query, lambda key: key.id)
    return Answer(SigningKeys([SigningKey.of(key) for key in shown]), last)


async def _rotate(to: Administration, asked: Asked) -> Answer[SigningKey]:
    assert isinstance(asked.body, Rotation)
    return Answer(SigningKey.of(await to.keys.rotate(revoke=asked.body.revoke)))


LIST_KEYS = Operation(
    "listKeys", "GET", "/keys", "admin", "All keys that tokens are verified with", _list_keys, SigningKeys, is_list=True
)
ROTATE_KEYS = Operation(
    "rotateKeys",
    "POST",
    "/keys",
    "admin",
    "A new key signs from now on; what the others signed stays valid until its time is over, or is void with `revoke`",
    _rotate,
    SigningKey,
    Rotation,
    201,
)

OPERATIONS = (LIST_KEYS, ROTATE_KEYS)
