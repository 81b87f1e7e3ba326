"""Where a slave of some repositories is: a text that only the registry above can read, and that tells nothing.

The slave's log has serials and a chain of its own. Its cursor holds the place in the master's log that goes with them,
encrypted and authenticated, always of one length.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registry.domain import events
from registry.domain.events import CHAIN_START, JournalEvent
from registry.errors import LogCutOff, LogForked
from registry.ports.replication import LogPosition
from replication.scope import Scope

_FORM = struct.Struct(">QQ32sQ32s32s")
_SALT, _NONCE = 16, 12
_LENGTH = _SALT + _NONCE + _FORM.size + 16  # the last of which authenticate it
_FOR = b"shoal: cursor of a limited log, 1"


@dataclass(frozen=True, slots=True)
class Place:
    """`serial`, `epoch` and `chain` in the master's log, `own_serial` and `own_chain` in that of the slave."""

    serial: int = 0
    epoch: int = 0
    chain: bytes = CHAIN_START
    own_serial: int = 0
    own_chain: bytes = CHAIN_START

    @classmethod
    def at(cls, position: LogPosition) -> Place:
        """Where a slave's log begins."""
        return cls(position.serial, position.epoch, position.chain)

    def after(self, event: JournalEvent, scope: Scope) -> tuple[Place, JournalEvent | None]:
        """The place after the master's next event, and that event as the slave's log has it, where it does."""
        if not (event.kind == events.EPOCH_BEGIN or (event.repository and scope.holds(event.repository))):
            return Place(event.serial, event.epoch, event.chain, self.own_serial, self.own_chain), None
        fields = (
            self.own_serial + 1,
            event.epoch,
            event.time,
            event.kind,
            event.repository,
            event.payload,
            event.content,
        )
        told = JournalEvent(*fields, events.link(self.own_chain, *fields))
        return Place(event.serial, event.epoch, event.chain, told.serial, told.chain), told


class Cursors:
    """Makes and reads cursors. `secret`: of the node, which it has for good and tells nobody."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        # A key is good for 2^32 random nonces: each process has one of its own.
        self._salt = secrets.token_bytes(_SALT)
        self._key = self._key_of(self._salt)

    def seal(self, place: Place, scope: Scope) -> str:
        fields = place.serial, place.epoch, place.chain, place.own_serial, place.own_chain, scope.id
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._key.encrypt(nonce, _FORM.pack(*fields), _FOR)
        return base64.urlsafe_b64encode(self._salt + nonce + sealed).decode()

    def open(self, cursor: str, scope: Scope) -> Place:
        """Raises LogForked where it was not made here, LogCutOff where it is of other repositories."""
        try:
            raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
            if len(raw) != _LENGTH:
                raise ValueError("its length is wrong")
            key = self._key_of(raw[:_SALT])
            opened = key.decrypt(raw[_SALT : _SALT + _NONCE], raw[_SALT + _NONCE :], _FOR)
        except (ValueError, InvalidTag) as error:
            raise LogForked("this cursor was not made here: this is not the log that was followed so far") from error
        *fields, of_scope = _FORM.unpack(opened)
        if of_scope != scope.id:
            raise LogCutOff("the cursor is of other repositories: take a snapshot")
        return Place(*fields)

    def _key_of(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._secret, salt, hashlib.sha256))
