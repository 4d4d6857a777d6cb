"""The embedded broker: one real Apache Kafka (KRaft) on localhost, from pinned jars on a Java from a wheel.

The alternative, a container, needs a daemon that laptops and CI machines often lack; the alternative, an
imitation, would prove nothing about recovery.
"""

from streams.broker.jars import jars_folder
from streams.broker.prepare import prepare
from streams.broker.probe import free_port
from streams.broker.process import Broker, Running, find, located

__all__ = ["Broker", "Running", "find", "free_port", "jars_folder", "located", "prepare"]
