"""TCP ports of this machine: which are free, and who has the others."""

import random
import socket

import psutil

from shared.tools.local.errors import LocalStackError

HOST = "127.0.0.1"

_RANDOM_PORTS = range(18_000, 32_000)
"""Below the kernel's range for outgoing connections, so that no client takes one of them."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Reservation:
    """Free ports that nobody else gets from here until it is closed, or this process ends.

    Their servers can listen on them all the same, if they set SO_REUSEADDR, as servers do.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, count: int) -> list[int]:
        """Choose distinct ports that are free now, and hold them.

        Raises
        ------
        LocalStackError
            There are not that many.
        """
        chosen: list[int] = []
        for port in random.SystemRandom().sample(_RANDOM_PORTS, len(_RANDOM_PORTS)):
            if len(chosen) == count:
                break
            if (held := _held(port)) is not None:
                self._held.append(held)
                chosen.append(port)
        if len(chosen) < count:
            raise LocalStackError(
                f"fewer than {count} free ports between {_RANDOM_PORTS[0]} and {_RANDOM_PORTS[-1]}",
                "end some of the programs that listen there",
            )
        return chosen

    def close(self) -> None:
        """Let the ports go."""
        while self._held:
            self._held.pop().close()


def _held(port: int) -> socket.socket | None:
    """Bind a port without listening; None if anybody has it, be it no more than this."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.bind((HOST, port))
    except OSError:
        holder.close()
        return None
    # After the bind: before it, one that another process holds would look free.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


def random_ports(count: int) -> list[int]:
    """Choose distinct ports that are free now; whoever is quick may still take them.

    Raises
    ------
    LocalStackError
        There are not that many.
    """
    reservation = Reservation()
    try:
        return reservation.take(count)
    finally:
        reservation.close()


def owner(port: int) -> str | None:
    """Name the program that listens on a port, as `name (pid n)`, where the system tells it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                continue
    return None


def require_free(port: int, what: str, *, setting: str) -> None:
    """Refuse a port that somebody else has.

    Raises
    ------
    LocalStackError
        Names the port, its owner where the system tells it, and the setting to change.
    """
    if is_free(port):
        return
    taker = owner(port) or "another program"
    raise LocalStackError(
        f"port {port}, wanted for {what}, is taken by {taker}",
        f"end that program, or {setting}, or start with --random-ports",
    )


def answers(port: int, host: str = HOST) -> bool:
    """Tell whether something accepts connections on this port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
