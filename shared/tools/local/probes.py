"""Is it ready? Questions to a broker, a Redis, a service. Each answers within about a second."""

import http.client
import socket
from urllib.parse import urlsplit

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from shared.tools.local.ports import HOST, answers

_GROUP = "shoploop-readiness"
_OFFSETS = TopicPartition("__consumer_offsets", 0)


def kafka_is_ready(bootstrap: str) -> bool:
    """Tell whether every partition has a leader and a committed offset is acknowledged.

    A broker answers metadata requests well before its partitions have leaders; the commit is a
    record written with acks=all, and it makes sure that consumer groups work.
    """
    host, _, port = bootstrap.rpartition(":")
    if not answers(int(port), host):
        return False
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap, bootstrap_timeout_ms=1000, request_timeout_ms=1000
        )
    except (KafkaError, OSError):
        return False
    try:
        topics = admin.describe_topics()
        leaderless = any(
            partition["leader_id"] < 0 for topic in topics for partition in topic["partitions"]
        )
        if leaderless:
            return False
        admin.alter_group_offsets(_GROUP, {_OFFSETS: OffsetAndMetadata(0, "", -1)})
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()
    return True


def redis_is_ready(port: int) -> bool:
    """Tell whether Redis has loaded its data and answers."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def http_is_ready(url: str) -> bool:
    """Tell whether a service's `/readyz` answers 200."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or HOST, address.port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
