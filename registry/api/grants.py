"""Groups and grants."""

from __future__ import annotations

from registry.api.operation import Administration, Answer, Asked, Operation, page
from registry.api.shapes import Grant, GrantChange, Grants, Group, Groups
from registry.domain import access
from registry.domain.access import parse_account
from registry.domain.patterns import fits
from registry.errors import AccessUnknown, RequestInvalid


async def _list_groups(to: Administration, asked: Asked) -> Answer[Groups]:
    shown, last = page(await to.accounts.groups(), asked.query, lambda group: group.name)
    return Answer(Groups([Group.of(group) for group in shown]), last)


async def _group(to: Administration, asked: Asked) -> Answer[Group]:
    name = asked.parameters["group"]
    found = (await to.accounts.table()).groups.get(name)
    if found is None:
        raise AccessUnknown("there is no such group", {"group": name[:100]})
    return Answer(Group.of(found))


async def _add_member(to: Administration, asked: Asked) -> Answer[Group]:
    group, account = asked.parameters["group"], asked.parameters["account"]
    await to.accounts.account(parse_account(account))
    return Answer(Group.of(await to.accounts.set_member(group, account, is_member=True)))


async def _remove_member(to: Administration, asked: Asked) -> Answer[Group]:
    group, account = asked.parameters["group"], asked.parameters["account"]
    return Answer(Group.of(await to.accounts.set_member(group, account, is_member=False)))


async def _list_grants(to: Administration, asked: Asked) -> Answer[Grants]:
    subject, pattern, repository = (asked.query.get(name) for name in ("subject", "pattern", "repository"))
    found = [
        grant
        for grant in await to.accounts.grants()
        if (subject is None or grant.subject == subject)
        and (pattern is None or grant.pattern == pattern)
        and (repository is None or fits(grant.pattern, repository))
    ]
    shown, last = page(sorted(found, key=_key), asked.query, _key)
    return Answer(Grants([Grant.of(grant) for grant in shown]), last)


def _key(grant: access.Grant) -> str:
    return grant.key


async def _set_grant(to: Administration, asked: Asked) -> Answer[Grant]:
    body: GrantChange = asked.body
    return Answer(Grant.of(await to.accounts.grant(body.subject, body.pattern, body.rights)))


async def _delete_grant(to: Administration, asked: Asked) -> Answer[None]:
    try:
        subject, pattern = asked.query["subject"], asked.query["pattern"]
    except KeyError as error:
        raise RequestInvalid("say which grant: ?subject=…&pattern=…") from error
    await to.accounts.revoke(subject, pattern)
    return Answer(None)


_SUBJECT = {"subject": "an account, a group after @, or anonymous"}
_PATTERN = {"pattern": "exactly this pattern"}

LIST_GROUPS = Operation("listGroups", "GET", "/groups", "admin", "All groups", _list_groups, Groups, is_list=True)
GROUP_ = Operation("group", "GET", "/groups/{group}", "admin", "One group", _group, Group)
ADD_MEMBER = Operation(
    "addMember",
    "PUT",
    "/groups/{group}/members/{account}",
    "admin",
    "Take an account into a group; the group is made where there is none",
    _add_member,
    Group,
)
REMOVE_MEMBER = Operation(
    "removeMember",
    "DELETE",
    "/groups/{group}/members/{account}",
    "admin",
    "Take an account out of a group; a group without members is none",
    _remove_member,
    Group,
)
LIST_GRANTS = Operation(
    "listGrants",
    "GET",
    "/grants",
    "admin",
    "All grants, or some",
    _list_grants,
    Grants,
    filters=_SUBJECT | _PATTERN | {"repository": "whose pattern fits this repository"},
    is_list=True,
)
SET_GRANT = Operation(
    "setGrant",
    "PUT",
    "/grants",
    "admin",
    "Grant rights, in the place of what the subject had on that pattern",
    _set_grant,
    Grant,
    GrantChange,
)
DELETE_GRANT = Operation(
    "deleteGrant",
    "DELETE",
    "/grants",
    "admin",
    "Take a grant back",
    _delete_grant,
    type(None),
    filters=_SUBJECT | _PATTERN,
)

OPERATIONS = (LIST_GROUPS, GROUP_, ADD_MEMBER, REMOVE_MEMBER, LIST_GRANTS, SET_GRANT, DELETE_GRANT)
