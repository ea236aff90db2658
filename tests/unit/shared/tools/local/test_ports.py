"""Ports that are free, and stay so until their server comes."""

import socket
from collections.abc import Iterator

import pytest

from shared.tools.local.ports import HOST, Reservation, is_free, random_ports


@pytest.fixture
def reserved() -> Iterator[Reservation]:
    reservation = Reservation()
    yield reservation
    reservation.close()


def listening(port: int, *options: int) -> socket.socket:
    server = socket.socket()
    for option in options:
        server.setsockopt(socket.SOL_SOCKET, option, 1)
    server.bind((HOST, port))
    server.listen()
    return server


def taken(port: int) -> bool:
    with socket.socket() as other:
        try:
            other.bind((HOST, port))
        except OSError:
            return True
    return False


def test_a_reserved_port_is_nobody_else_s_until_it_is_let_go(reserved: Reservation) -> None:
    """Two stacks that start together would sometimes choose one port, and one of them would die."""
    ports = reserved.take(3)
    assert len(set(ports)) == 3
    assert all(taken(port) for port in ports)
    reserved.close()
    assert not any(taken(port) for port in ports)


def test_its_server_gets_a_reserved_port_again_and_again(reserved: Reservation) -> None:
    """A service could not start on the port that was kept for it, or not after a crash."""
    (port,) = reserved.take(1)
    for _ in range(2):
        with listening(port, socket.SO_REUSEADDR), socket.create_connection((HOST, port)):
            assert not is_free(port)


def test_replicas_share_a_reserved_port(reserved: Reservation) -> None:
    """A second replica could not join the first."""
    (port,) = reserved.take(1)
    options = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    with listening(port, *options), listening(port, *options):
        assert not is_free(port)


def test_chosen_ports_are_free() -> None:
    """A test's server would find its port taken by the choice itself."""
    assert all(is_free(port) for port in random_ports(5))
