"""Loopback addresses for pods and nodes: `PREFIX.y.z`, each held by one pod at a time.

Addresses are handed out in rising order and wrap around, so that one that was just given back is the last to be used
again: clients with a stale address must not reach a stranger. Nodes take theirs from `PREFIX.255.z`.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from penstock_lab.nodeagent.errors import NodeAgentError, SettingsError

_HOSTS: Final = 254
_BLOCKS: Final = 255  # block 255 belongs to nodes
MAX_NODES: Final = _HOSTS


class AddressPool:
    """The addresses below one prefix such as `127.23`."""

    def __init__(self, prefix: str) -> None:
        try:
            loopback = ipaddress.IPv4Address(f"{prefix}.0.1").is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise SettingsError(f"--address-prefix {prefix!r}: give the first two numbers of 127.X, such as 127.23")
        self._prefix = prefix
        self._next = 0
        self._held: set[str] = set()

    def node(self, index: int) -> str:
        """Return the address of the node with this index, counted from 0."""
        return f"{self._prefix}.255.{index + 1}"

    def take(self, preferred: str | None = None) -> str:
        """Hold an address, the preferred one if it is ours and free.

        Raises:
            NodeAgentError: all 64,770 are held.
        """
        if preferred and self._ours(preferred) and preferred not in self._held:
            self._held.add(preferred)
            return preferred
        for _ in range(_BLOCKS * _HOSTS):
            block, host = divmod(self._next, _HOSTS)
            self._next = (self._next + 1) % (_BLOCKS * _HOSTS)
            address = f"{self._prefix}.{block}.{host + 1}"
            if address not in self._held:
                self._held.add(address)
                return address
        raise NodeAgentError(f"no free address below {self._prefix}")

    def free(self, address: str) -> None:
        """Give an address back; no process may use it any more."""
        self._held.discard(address)

    def _ours(self, address: str) -> bool:
        return address.startswith(f"{self._prefix}.") and not address.startswith(f"{self._prefix}.255.")
