"""Users and robots, and who somebody is."""

from __future__ import annotations

from msgspec import UNSET

from registry.api.operation import Administration, Answer, Asked, Operation, page
from registry.api.shapes import (
    NewPassword,
    NewRobot,
    NewSecret,
    NewUser,
    Robot,
    RobotChange,
    Robots,
    RobotSecret,
    User,
    UserChange,
    Users,
    WhoAmI,
)
from registry.domain.access import ROBOT, USER, Account


def _by_name(account: Account) -> str:
    return account.name


async def _list_users(to: Administration, asked: Asked) -> Answer[Users]:
    shown, last = page(await to.accounts.accounts(USER), asked.query, _by_name)
    return Answer(Users([User.of(account) for account in shown]), last)


async def _add_user(to: Administration, asked: Asked) -> Answer[User]:
    body: NewUser = asked.body
    return Answer(User.of(await to.accounts.add_user(body.name, body.password, is_admin=body.is_admin)))


async def _user(to: Administration, asked: Asked) -> Answer[User]:
    return Answer(User.of(await to.accounts.account(asked.parameters["account"], USER)))


async def _change_user(to: Administration, asked: Asked) -> Answer[User]:
    body: UserChange = asked.body
    changed = await to.accounts.change(
        asked.parameters["account"],
        USER,
        is_disabled=None if body.is_disabled is UNSET else body.is_disabled,
        is_admin=None if body.is_admin is UNSET else body.is_admin,
    )
    return Answer(User.of(changed))


async def _delete_user(to: Administration, asked: Asked) -> Answer[None]:
    await to.accounts.delete(asked.parameters["account"], USER)
    return Answer(None)


async def _set_password(to: Administration, asked: Asked) -> Answer[None]:
    await to.accounts.set_password(asked.parameters["account"], asked.body.password, USER)
    return Answer(None)


async def _list_robots(to: Administration, asked: Asked) -> Answer[Robots]:
    shown, last = page(await to.accounts.accounts(ROBOT), asked.query, _by_name)
    return Answer(Robots([Robot.of(account) for account in shown]), last)


async def _create_robot(to: Administration, asked: Asked) -> Answer[RobotSecret]:
    body: NewRobot = asked.body
    grants = [(grant.pattern, grant.rights) for grant in body.grants]
    return _secret_of(*await to.accounts.create_robot(body.name, grants, body.expires_in))


async def _robot(to: Administration, asked: Asked) -> Answer[Robot]:
    return Answer(Robot.of(await to.accounts.account(asked.parameters["account"], ROBOT)))


async def _change_robot(to: Administration, asked: Asked) -> Answer[Robot]:
    name, body = asked.parameters["account"], asked.body
    return Answer(Robot.of(await to.accounts.change(name, ROBOT, is_disabled=body.is_disabled)))


async def _renew_robot(to: Administration, asked: Asked) -> Answer[RobotSecret]:
    return _secret_of(*await to.accounts.renew_secret(asked.parameters["account"], asked.body.expires_in, ROBOT))


async def _delete_robot(to: Administration, asked: Asked) -> Answer[None]:
    await to.accounts.delete(asked.parameters["account"], ROBOT)
    return Answer(None)


async def _who_am_i(to: Administration, asked: Asked) -> Answer[WhoAmI]:
    visitor = asked.visitor
    groups = (await to.accounts.table()).groups_of(visitor.principal)
    return Answer(WhoAmI(visitor.principal.name, visitor.may_administer, groups))


def _secret_of(account: Account, secret: str) -> Answer[RobotSecret]:
    return Answer(RobotSecret(account.name, secret, Robot.of(account).expires))


WHO_AM_I = Operation("whoAmI", "GET", "/whoami", "known", "Who the caller is", _who_am_i, WhoAmI)
LIST_USERS = Operation("listUsers", "GET", "/users", "admin", "All users", _list_users, Users, is_list=True)
ADD_USER = Operation("addUser", "POST", "/users", "admin", "Add a user", _add_user, User, NewUser, 201)
USER_ = Operation("user", "GET", "/users/{account}", "admin", "One user", _user, User)
CHANGE_USER = Operation(
    "changeUser",
    "PATCH",
    "/users/{account}",
    "admin",
    "Disable or enable a user, make one an administrator or not",
    _change_user,
    User,
    UserChange,
)
DELETE_USER = Operation(
    "deleteUser", "DELETE", "/users/{account}", "admin", "Delete a user with all grants", _delete_user, type(None)
)
SET_PASSWORD = Operation(
    "setPassword",
    "PUT",
    "/users/{account}/password",
    "admin",
    "Another password; what was issued before is void",
    _set_password,
    type(None),
    NewPassword,
)
LIST_ROBOTS = Operation("listRobots", "GET", "/robots", "admin", "All robots", _list_robots, Robots, is_list=True)
CREATE_ROBOT = Operation(
    "createRobot",
    "POST",
    "/robots",
    "admin",
    "Create an account for a program; its secret is shown this once",
    _create_robot,
    RobotSecret,
    NewRobot,
    201,
)
ROBOT_ = Operation("robot", "GET", "/robots/{account}", "admin", "One robot", _robot, Robot)
CHANGE_ROBOT = Operation(
    "changeRobot", "PATCH", "/robots/{account}", "admin", "Disable or enable a robot", _change_robot, Robot, RobotChange
)
RENEW_ROBOT = Operation(
    "renewRobot",
    "POST",
    "/robots/{account}/secret",
    "admin",
    "A new secret, shown this once; the old one is void",
    _renew_robot,
    RobotSecret,
    NewSecret,
    201,
)
DELETE_ROBOT = Operation(
    "deleteRobot", "DELETE", "/robots/{account}", "admin", "Delete a robot with all grants", _delete_robot, type(None)
)

OPERATIONS = (
    WHO_AM_I,
    LIST_USERS,
    ADD_USER,
    USER_,
    CHANGE_USER,
    DELETE_USER,
    SET_PASSWORD,
    LIST_ROBOTS,
    CREATE_ROBOT,
    ROBOT_,
    CHANGE_ROBOT,
    RENEW_ROBOT,
    DELETE_ROBOT,
)
