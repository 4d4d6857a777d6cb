from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import children, clients
from streams.broker import Broker, find, free_port, jars, jars_folder, located, probe, properties
from streams.errors import BrokerError
from streams.settings import load


def linked_jars(folder: Path) -> Path:
    """A folder of its own with the real jars in it."""
    folder.mkdir()
    for jar in jars.pinned():
        (folder / jar.file).symlink_to(jars_folder() / jar.file)
    return folder


def values(settings, topic):
    from kafka import TopicPartition

    consumer = clients.sync_consumer(settings, fetch_max_wait_ms=20)
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    consumer.seek_to_beginning(tp)
    end = consumer.end_offsets([tp])[tp]
    out = []
    while consumer.position(tp) < end:
        out += [record.value for record in consumer.poll(timeout_ms=200).get(tp, ())]
    consumer.close()
    return out


def create_topic(settings, name):
    from kafka.admin import NewTopic

    admin = clients.admin(settings)
    admin.create_topics(
        [NewTopic(name, 1, 1, topic_configs={"max.message.bytes": str(clients.MAX_REQUEST_BYTES)})],
        wait_for_metadata=True,
    )
    admin.close()


def test_it_is_found_again_and_loses_nothing_when_killed(fresh_brokers, settings, tmp_path):
    data_dir = tmp_path / "däta 100%n = #1"  # as odd as a path may be
    broker = fresh_brokers(data_dir=data_dir)
    asked = settings(broker=broker)
    create_topic(asked, "kept")
    producer = clients.sync_producer(asked)
    sent = [producer.send("kept", b"%d" % i) for i in range(2000)]
    for future in sent:
        future.get(timeout=30)  # every one acknowledged

    second = Broker(data_dir)
    assert second.start() is False
    assert (second.pid, second.port) == (broker.pid, broker.port)
    assert find(data_dir) == (broker.pid, broker.port)
    assert located(load(data_dir=data_dir)).bootstrap_servers == broker.bootstrap_servers

    port = broker.port
    broker.kill(signal.SIGKILL)
    assert broker.wait(10)
    assert find(data_dir) is None
    assert not second.running()
    assert "SIGKILL" in broker.reason_of_death()

    assert broker.start() is True
    assert broker.port == port
    assert values(asked, "kept") == [b"%d" % i for i in range(2000)]
    producer.close()


def test_it_listens_on_this_machine_only_and_takes_the_largest_record(broker, settings):
    listening = [c for c in psutil.Process(broker.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) == 2
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}

    asked = settings()
    create_topic(asked, "large")
    producer = clients.sync_producer(asked, compression_type=None)
    producer.send("large", os.urandom(8 * 1024 * 1024)).get(timeout=30)
    producer.close()
    assert len(values(asked, "large")[0]) == 8 * 1024 * 1024


def test_it_can_be_given_other_listeners_and_properties(fresh_brokers, settings):
    port = free_port()
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="secret";'
    broker = fresh_brokers(
        more_listeners={"SASL_PLAINTEXT": port},
        overrides={
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
        },
    )
    kafka = {"bootstrap_servers": f"127.0.0.1:{port}", "security_protocol": "SASL_PLAINTEXT"}
    account = {"sasl_mechanism": "PLAIN", "sasl_username": "ann", "sasl_password": "secret"}
    asked = settings(broker=broker, kafka=kafka | account)
    create_topic(asked, "guarded")
    producer = clients.sync_producer(asked)
    producer.send("guarded", b"x").get(timeout=30)
    producer.close()
    assert values(asked, "guarded") == [b"x"]


def test_it_dies_with_whoever_started_it(prepared_jars, tmp_path, until):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom streams.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1]), start_seconds=120)\nbroker.start()\n"
        "print(broker.pid, flush=True)\ntime.sleep(1000)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert find(tmp_path).pid == pid
    parent.kill()
    parent.wait()
    until(lambda: children.started(pid) is None, what="the broker is gone")
    parent.stdout.close()


def test_a_taken_port_is_named(prepared_jars, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} is taken .* --set broker.port"):
            Broker(tmp_path, port=port).start()


def test_a_full_disk_is_named(prepared_jars, tmp_path):
    with pytest.raises(BrokerError, match=r"is full: \d+ MiB free.*--data-dir"):
        Broker(tmp_path, least_free_bytes=2**62).start()


def test_a_place_that_cannot_serve_is_named(prepared_jars, tmp_path):
    with pytest.raises(BrokerError, match="comma"):
        Broker(tmp_path / "a,b").start()
    (tmp_path / "file").write_text("x")
    with pytest.raises(BrokerError, match="--data-dir"):
        Broker(tmp_path / "file").start()


def test_missing_jars_without_a_network(tmp_path, monkeypatch):
    folder = tmp_path / "jars"
    with pytest.raises(BrokerError, match=r"46 more of its 46 jars .*broker\.jars_dir"):
        Broker(tmp_path, jars_dir=folder, offline=True).start()
    # The same where the network only turns out not to be there: nothing listens at the proxy.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerError, match="cannot be downloaded") as caught:
        Broker(tmp_path, jars_dir=folder).start()
    assert "://" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert list(folder.iterdir()) == []  # and nothing half done stays


def test_damaged_jars_are_noticed(prepared_jars, tmp_path):
    folder = linked_jars(tmp_path / "jars")
    assert jars.missing(folder) == []
    short, flipped = jars.pinned()[3], jars.pinned()[7]
    content = {jar: (folder / jar.file).read_bytes() for jar in (short, flipped)}
    for jar in (short, flipped):
        (folder / jar.file).unlink()
    (folder / short.file).write_bytes(content[short][:-1])
    changed = bytearray(content[flipped])
    changed[1000] ^= 1
    (folder / flipped.file).write_bytes(changed)
    assert jars.missing(folder) == [short, flipped]


def test_a_broken_start_cache_does_no_harm(prepared_jars, fresh_brokers, tmp_path):
    from streams.broker import java

    folder = linked_jars(tmp_path / "jars")
    java.start_cache(jars.ensure(folder)).write_bytes(b"broken" * 1000)
    assert fresh_brokers(jars_dir=folder).running()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("java.io.IOException: No space left on device", "disk is full"),
        ("KafkaException: Failed to acquire lock on file .lock in /x/data", "another broker process"),
        ("java.net.BindException: Address already in use", "broker.port=0"),
        ("java.lang.OutOfMemoryError: Java heap space", "broker.heap_megabytes"),
        ("java.nio.file.AccessDeniedException: /x/data", "--data-dir"),
        ("[2026] ERROR something new (kafka)", "something new"),
    ],
)
def test_a_death_is_explained(said, meant):
    assert meant in probe.reason_of_death(f"INFO fine\n{said}\nINFO bye", Path("/x/broker.log"))


def test_free_ports_are_not_those_of_outgoing_connections():
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(free_port() < low for _ in range(20))


@given(st.dictionaries(st.from_regex(r"[a-z.]+", fullmatch=True), st.text()))
def test_properties_come_back(pairs):
    pairs = {key: "".join(c for c in value if c.isprintable()) for key, value in pairs.items()}
    text = properties.render(pairs)
    assert text.isascii()
    assert properties.parse(text) == pairs
