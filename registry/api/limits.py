"""What repositories may take."""

from __future__ import annotations

from registry.api.operation import Administration, Answer, Asked, Operation, page
from registry.api.shapes import Limit, LimitChange, Limits
from registry.errors import RequestInvalid


async def _list_limits(to: Administration, asked: Asked) -> Answer[Limits]:
    shown, last = page(await to.accounts.limits(), asked.query, lambda limit: limit.pattern)
    return Answer(Limits([Limit.of(limit) for limit in shown]), last)


async def _set_limit(to: Administration, asked: Asked) -> Answer[Limit]:
    body: LimitChange = asked.body
    return Answer(Limit.of(await to.accounts.limit(body.pattern, body.bytes, body.tags, body.immutable)))


async def _delete_limit(to: Administration, asked: Asked) -> Answer[None]:
    try:
        await to.accounts.unlimit(asked.query["pattern"])
    except KeyError as error:
        raise RequestInvalid("say which limit: ?pattern=…") from error
    return Answer(None)


LIST_LIMITS = Operation("listLimits", "GET", "/limits", "admin", "All limits", _list_limits, Limits, is_list=True)
SET_LIMIT = Operation(
    "setLimit",
    "PUT",
    "/limits",
    "admin",
    "Limit the repositories of a pattern, in the place of what was said of that pattern",
    _set_limit,
    Limit,
    LimitChange,
)
DELETE_LIMIT = Operation(
    "deleteLimit",
    "DELETE",
    "/limits",
    "admin",
    "Take a limit away",
    _delete_limit,
    type(None),
    filters={"pattern": "exactly this pattern"},
)

OPERATIONS = (LIST_LIMITS, SET_LIMIT, DELETE_LIMIT)
