"""Fixtures for every room's tests: a real Kafka, and settings that mean it.

- `broker`: one embedded broker for the whole session. Tests that use it need names of their own, or
- `clean_broker`: the same one with every topic and group deleted first (about 0.3 s).
- `fresh_broker`: a broker of the test's own, to be killed and started again (1-3 s); `fresh_brokers` makes
  several, or one with other properties.
- `settings`: a factory, `settings(**sections)`, for the session's broker and a data directory of its own;
  `settings(broker=BROKER, **sections)` for another one.
- `until`: wait for a condition with a deadline, instead of sleeping and hoping.

Every broker needs its jars: fetched once into the user's cache folder.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams import clients, logs
from streams.broker import Broker, jars_folder, prepare
from streams.settings import Settings, load

for _name in [name for name in os.environ if name.startswith("FINESTREAM_")]:
    del os.environ[_name]  # the machine's own settings are no part of a test
logs.configure()  # writes to what is stderr at that moment: structlog's default keeps a test's, which closes
logging.getLogger().handlers.clear()  # the libraries' words are pytest's to capture
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each child process compiles torch anew

Until = Callable[..., Any]
SettingsFactory = Callable[..., Settings]


def wait_until(
    condition: Callable[[], Any], seconds: float = 30.0, what: str = "", every: float = 0.02
) -> Any:
    """Return the condition's first true value; fail the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what or condition}")
        time.sleep(every)
    return value


@pytest.fixture(scope="session")
def until() -> Until:
    return wait_until


@pytest.fixture(scope="session")
def prepared_jars() -> None:
    prepare(jars_folder())


@pytest.fixture(scope="session")
def broker(prepared_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real broker for the session, on a free port."""
    it = Broker(tmp_path_factory.mktemp("broker"), start_seconds=120)
    it.start()
    yield it
    it.stop()


@pytest.fixture
def clean_broker(broker: Broker) -> Broker:
    """The session's broker without any topic or group."""
    delete_everything(broker)
    return broker


@pytest.fixture
def fresh_brokers(
    prepared_jars: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Broker]]:
    """Make brokers of this test's own: `fresh_brokers(overrides={...}, data_dir=...)`, started."""
    made: list[Broker] = []

    def make(data_dir: Path | None = None, **arguments: Any) -> Broker:
        it = Broker(data_dir or tmp_path_factory.mktemp("fresh"), **{"start_seconds": 120, **arguments})
        made.append(it)
        it.start()
        return it

    yield make
    for it in made:
        it.stop()


@pytest.fixture
def fresh_broker(fresh_brokers: Callable[..., Broker]) -> Broker:
    """One broker of this test's own."""
    return fresh_brokers()


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> SettingsFactory:
    """Make settings for a broker (the session's, where none is given) and this test's data directory."""

    def make(broker: Broker | None = None, **sections: Any) -> Settings:
        it: Broker = broker or request.getfixturevalue("broker")
        kafka = {"bootstrap_servers": it.bootstrap_servers, **sections.pop("kafka", {})}
        return load(**{"data_dir": tmp_path / "data", "kafka": kafka, **sections})

    return make


_LEFT_OUT = pytest.StashKey[list[str]]()
"""Names of the long tests that `-m` leaves out."""


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember what was left out, so that the run can say so."""
    for item in items:
        if item.get_closest_marker("long"):
            item.config.stash.setdefault(_LEFT_OUT, []).append(item.nodeid.partition("[")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports, where tests run in several."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left_out"] = session.config.stash.get(_LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it from one of them."""
    node.config.stash.setdefault(_LEFT_OUT, []).extend(getattr(node, "workeroutput", {}).get("left_out", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the tests that were left out by `-m`, and why: a green run must not pass for more than it is."""
    if names := sorted(set(config.stash.get(_LEFT_OUT, []))):
        terminalreporter.section("left out")
        for name in names:
            terminalreporter.write_line(f"{name}: takes minutes; `make chaos` runs it")


def delete_everything(broker: Broker) -> None:
    """Delete all topics and groups, and wait until that is real."""
    admin = clients.admin(load(kafka={"bootstrap_servers": broker.bootstrap_servers}))
    try:
        names = [name for name in admin.list_topics() if not name.startswith("__")]
        if names:
            admin.delete_topics(names)
            wait_until(lambda: not set(names) & set(admin.list_topics()), what="topics are deleted")
        groups = [group["group_id"] for group in admin.list_groups()]
        if groups:
            # A member whose process just died is still in its group until its session ends: those stay.
            admin.delete_groups(groups)
    finally:
        admin.close()
