"""Ports and loopback addresses that belong to one cluster alone.

Ports come from the kernel and stay reserved while the supervisor lives: a socket that is bound but never listens keeps
the kernel from handing the port out again, while a server that sets SO_REUSEADDR (all Go servers do) may still bind
it. So a component can be stopped and started on its old port, and nobody can take it in between.

A cluster's pods live in `127.X.0.0/16`. X is claimed by binding one fixed port on `127.X.0.1`, which the kernel grants
once and frees when the holder dies, however it dies.
"""

from __future__ import annotations

import errno
import socket
import zlib
from typing import Final

from penstock_lab.cluster.errors import StartError

LOOPBACK: Final = "127.0.0.1"
GUARD_PORT: Final = 28417
"""Below the ephemeral range, so that no outgoing connection can hold it."""

_FIRST: Final = 64
_COUNT: Final = 160


class Reservations:
    """Sockets that keep ports and an address prefix for the life of this object."""

    def __init__(self, *, guard_port: int = GUARD_PORT) -> None:
        self._guard_port = guard_port
        self._sockets: list[socket.socket] = []

    def port(self) -> int:
        """A free TCP port on 127.0.0.1 that nothing else will be given."""
        reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sockets.append(reservation)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind((LOOPBACK, 0))
        port: int = reservation.getsockname()[1]
        return port

    def prefix(self, *, preferred_by: str) -> str:
        """Claim a free `127.X`; the search starts at a place given by the hash of `preferred_by`.

        Raises:
            StartError: Every prefix is taken.
        """
        start = zlib.crc32(preferred_by.encode())
        for step in range(_COUNT):
            prefix = f"127.{_FIRST + (start + step) % _COUNT}"
            guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                guard.bind((f"{prefix}.0.1", self._guard_port))
                guard.listen(1)
            except OSError as error:
                guard.close()
                if error.errno != errno.EADDRINUSE:
                    raise StartError(f"cannot bind {prefix}.0.1:{self._guard_port} on loopback: {error}") from error
                continue
            self._sockets.append(guard)
            return prefix
        raise StartError(
            f"no loopback prefix 127.{_FIRST}-{_FIRST + _COUNT - 1} is free: is port {self._guard_port} in use?"
        )

    def close(self) -> None:
        """Give everything back."""
        for reservation in self._sockets:
            reservation.close()
        self._sockets.clear()
