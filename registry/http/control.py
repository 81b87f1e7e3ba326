"""The gate of the control socket, which lets in the operator of this machine."""

from __future__ import annotations

import os
import socket
import struct

from registry.auth.visitor import Visitor
from registry.domain.access import AccessTable, Principal
from registry.domain.audit import OPERATOR
from registry.errors import Denied
from registry.http.router import Call, Route

MOST_CONNECTIONS = 64

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_VISITOR = Visitor(Principal(OPERATOR), AccessTable(), is_open=True)


class ControlGate:
    """The file's permissions say who may connect; who did is asked of the kernel all the same."""

    async def admit(self, call: Call, route: Route) -> None:
        transport = call.request.transport
        connection = transport.get_extra_info("socket") if transport is not None else None
        if connection is None or peer_uid(connection) not in (0, os.geteuid()):
            raise Denied("this socket is for root and for the user that the server runs as")
        call.visitor, call.actor = _VISITOR, OPERATOR


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a unix socket (SO_PEERCRED)."""
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)
