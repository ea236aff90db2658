"""TCP ports of this machine: which are free, and who has the others."""

import random
import socket

import psutil

from shared.tools.local.errors import LocalStackError

HOST = "127.0.0.1"

# Below the kernel's range for outgoing connections, so that no client socket takes a port
# between its choice here and the moment its server binds it.
_RANDOM_PORTS = range(18_000, 32_000)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def random_ports(count: int) -> list[int]:
    """Choose distinct ports that are free now.

    Raises
    ------
    LocalStackError
        There are not that many.
    """
    candidates = random.SystemRandom().sample(_RANDOM_PORTS, len(_RANDOM_PORTS))
    chosen: list[int] = []
    for port in candidates:
        if len(chosen) == count:
            break
        if is_free(port):
            chosen.append(port)
    if len(chosen) < count:
        raise LocalStackError(
            f"fewer than {count} free ports between {_RANDOM_PORTS[0]} and {_RANDOM_PORTS[-1]}",
            "end some of the programs that listen there",
        )
    return chosen


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
