"""Slaves of this node: their tokens, and how far they are."""

from __future__ import annotations

from registry.api.operation import Administration, Answer, Asked, Operation, page
from registry.api.shapes import (
    NewReplica,
    PromotionRequest,
    PromotionResult,
    ReplicationToken,
    ReplicationTokens,
    ReplicationTokenSecret,
    Slave,
    Slaves,
)
from registry.errors import RequestInvalid
from registry.ports.succession import Promotion
from registry.values import parse_public_url


async def _list_tokens(to: Administration, asked: Asked) -> Answer[ReplicationTokens]:
    shown, last = page(await to.replicas.replicas(), asked.query, lambda replica: replica.name)
    return Answer(ReplicationTokens([ReplicationToken.of(replica) for replica in shown]), last)


async def _create_token(to: Administration, asked: Asked) -> Answer[ReplicationTokenSecret]:
    body: NewReplica = asked.body
    replica, token = await to.replicas.create(body.name, body.repositories, may_promote=body.may_promote)
    return Answer(ReplicationTokenSecret(replica.name, token))


async def _delete_token(to: Administration, asked: Asked) -> Answer[None]:
    await to.replicas.delete(asked.parameters["replica"])
    return Answer(None)


async def _list_slaves(to: Administration, asked: Asked) -> Answer[Slaves]:
    found = [Slave.of(status) for status in await to.slaves.statuses()]
    shown, last = page(found, asked.query, lambda slave: f"{slave.name} {slave.address}")
    return Answer(Slaves(shown), last)


async def _promote(to: Administration, asked: Asked) -> Answer[PromotionResult]:
    body: PromotionRequest = asked.body
    try:
        url = parse_public_url(body.url) if body.url else ""
    except ValueError as error:
        raise RequestInvalid(f"url: {error}") from error
    done = await to.succession.promote(Promotion(body.graceful, body.force, url))
    claim = done.claim
    return Answer(
        PromotionResult(claim.number, claim.id, claim.after, claim.url, done.lost_changes, list(done.lost_in))
    )


LIST_TOKENS = Operation(
    "listReplicationTokens",
    "GET",
    "/replication/tokens",
    "admin",
    "All tokens that slaves may copy with",
    _list_tokens,
    ReplicationTokens,
    is_list=True,
)
CREATE_TOKEN = Operation(
    "createReplicationToken",
    "POST",
    "/replication/tokens",
    "admin",
    "A token with which a slave may copy everything, or some repositories; it is shown this once",
    _create_token,
    ReplicationTokenSecret,
    NewReplica,
    201,
)
DELETE_TOKEN = Operation(
    "deleteReplicationToken",
    "DELETE",
    "/replication/tokens/{replica}",
    "admin",
    "Take a token back; it is void at once",
    _delete_token,
    type(None),
)
LIST_SLAVES = Operation(
    "listSlaves",
    "GET",
    "/replication/slaves",
    "admin",
    "The slaves that reported to this node, and how far each is behind it",
    _list_slaves,
    Slaves,
    is_list=True,
)

PROMOTE = Operation(
    "promote",
    "POST",
    "/replication/promotion",
    "admin",
    "This slave takes the place of its master",
    _promote,
    PromotionResult,
    PromotionRequest,
    is_of_the_node=True,
)

OPERATIONS = (LIST_TOKENS, CREATE_TOKEN, DELETE_TOKEN, LIST_SLAVES, PROMOTE)
