"""Kafka clients: the one place that knows addresses, security and the delivery rules.

Delivery: idempotent, acks=all, and time-outs so long that a process always dies by its own decision first.
Both client libraries drop a batch that expires and then go on with what is queued behind it, which would be
a durable hole in a lane; so nothing may ever expire.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from streams.errors import BrokerUnreachable, SettingsError
from streams.records import MAX_RECORD_BYTES
from streams.settings import Settings

NEVER_MS: Final = 2**31 - 1
"""About 24 days: the longest that both libraries take."""
RECONNECT_MS: Final = 1000
"""Longest pause between two tries to connect: a broker that is back is used at once, not after up to 30 s."""
LEADER_SECONDS: Final = 60.0
MAX_REQUEST_BYTES: Final = MAX_RECORD_BYTES + 512 * 1024


def _ssl_context(settings: Settings) -> ssl.SSLContext | None:
    kafka = settings.kafka
    if "SSL" not in kafka.security_protocol.split("_"):
        return None
    context = ssl.create_default_context(cafile=kafka.ssl_cafile or None)
    if kafka.ssl_certfile:
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile or None)
    return context


def common(settings: Settings) -> dict[str, Any]:
    """Return the arguments that kafka-python and aiokafka share: address and security."""
    kafka = settings.kafka
    out: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": kafka.security_protocol,
    }
    if (context := _ssl_context(settings)) is not None:
        out["ssl_context"] = context
    if kafka.sasl_mechanism:
        out["sasl_mechanism"] = kafka.sasl_mechanism
        out["sasl_plain_username"] = kafka.sasl_username
        out["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    return out


def compression(settings: Settings) -> str | None:
    """Return the codec as both libraries name it."""
    return None if settings.kafka.compression == "none" else settings.kafka.compression


def sync_producer(settings: Settings, **more: Any) -> Any:
    """Return a kafka-python producer that loses and repeats nothing while it lives.

    Raises `BrokerUnreachable` where nobody answers.
    """
    from kafka import KafkaProducer  # noqa: PLC0415 - 0.1 s that --help does not pay
    from kafka.errors import KafkaError  # noqa: PLC0415

    arguments = {
        **common(settings),
        "reconnect_backoff_max_ms": RECONNECT_MS,
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": compression(settings),
        "max_request_size": MAX_REQUEST_BYTES,
        "delivery_timeout_ms": NEVER_MS,
        "linger_ms": 5,
        "batch_size": 256 * 1024,
        **more,
    }
    try:
        return KafkaProducer(**arguments)
    except KafkaError as error:
        raise unreachable(settings, error) from error


def sync_consumer(settings: Settings, **more: Any) -> Any:
    """Return a kafka-python consumer without a group, to be assigned by hand."""
    from kafka import KafkaConsumer  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    arguments = {
        **common(settings),
        "reconnect_backoff_max_ms": RECONNECT_MS,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "max_partition_fetch_bytes": MAX_REQUEST_BYTES,
        **more,
    }
    try:
        return KafkaConsumer(**arguments)
    except KafkaError as error:
        raise unreachable(settings, error) from error


def beginning_offsets(consumer: Any, partitions: Sequence[Any]) -> dict[Any, int]:
    """Return the first offset of each partition. Raises `BrokerUnreachable`."""
    return _offsets(consumer.beginning_offsets, partitions)


def end_offsets(consumer: Any, partitions: Sequence[Any]) -> dict[Any, int]:
    """Return the offset behind the last of each partition. Raises `BrokerUnreachable`."""
    return _offsets(consumer.end_offsets, partitions)


def _offsets(ask: Callable[[Sequence[Any]], dict[Any, int]], partitions: Sequence[Any]) -> dict[Any, int]:
    """Ask until all are answered.

    kafka-python leaves out a partition whose leader it does not know (a topic it has not met yet, a broker
    that has just come back) beside others that it does, and then trips over the missing answer.
    """
    deadline = time.monotonic() + LEADER_SECONDS
    while True:
        try:
            return ask(partitions)
        except KeyError as missing:
            if time.monotonic() > deadline:
                raise BrokerUnreachable(
                    f"{missing.args[0]} has had no leader for {LEADER_SECONDS:.0f} s; are all brokers up?"
                ) from missing
            time.sleep(0.05)  # the client has asked for the leaders meanwhile


def admin(settings: Settings) -> Any:
    """Return a kafka-python admin client."""
    from kafka.admin import KafkaAdminClient  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    try:
        return KafkaAdminClient(**common(settings), reconnect_backoff_max_ms=RECONNECT_MS)
    except KafkaError as error:
        raise unreachable(settings, error) from error


def check_reachable(settings: Settings, timeout_seconds: float = 5.0) -> None:
    """Raise `BrokerUnreachable` where nobody listens at any of the addresses: said in seconds, not in 30."""
    error: OSError | None = None
    for address in settings.bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition(":")
        if not port.isdigit():
            raise SettingsError(f"kafka.bootstrap_servers wants host:port,…; {address!r} is none")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout_seconds).close()
        except OSError as failed:
            error = failed
        else:
            return
    assert error is not None
    raise unreachable(settings, error) from error


def unreachable(settings: Settings, error: Exception) -> BrokerUnreachable:
    """Say it as the user needs it: an unreachable broker and wrong credentials look the same to a client."""
    hint = "`finestream up` starts the embedded one" if settings.embedded else "check kafka.bootstrap_servers"
    more = " or the credentials are wrong" if settings.kafka.sasl_mechanism else ""
    return BrokerUnreachable(
        f"no Kafka broker answers at {settings.bootstrap_servers}{more} ({type(error).__name__}); {hint}"
    )
