"""Ports and prefixes are claimed from the kernel, and freed with their holder."""

from __future__ import annotations

import contextlib
import socket

import pytest

from penstock_lab.cluster.addresses import Reservations
from penstock_lab.cluster.errors import StartError


@pytest.fixture
def reservations():
    with contextlib.closing(Reservations()) as made:
        yield made


def test_a_reserved_port_is_bound_by_a_server_but_by_nobody_by_chance(reservations):
    port = reservations.port()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    for _ in range(2):  # and again after a restart
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()


def test_ports_differ(reservations):
    assert len({reservations.port() for _ in range(50)}) == 50


def test_a_prefix_is_given_once_until_it_is_closed(reservations):
    with contextlib.closing(Reservations()) as other:
        first = reservations.prefix(preferred_by="x")
        assert other.prefix(preferred_by="x") != first
    reservations.close()
    with contextlib.closing(Reservations()) as third:
        assert third.prefix(preferred_by="x") == first


def test_when_no_prefix_is_free_the_port_is_named():
    with socket.create_server(("0.0.0.0", 0)) as everywhere:  # noqa: S104 - to be in the way
        port = everywhere.getsockname()[1]
        with (
            contextlib.closing(Reservations(guard_port=port)) as reservations,
            pytest.raises(StartError, match=f"is port {port} in use"),
        ):
            reservations.prefix(preferred_by="x")
