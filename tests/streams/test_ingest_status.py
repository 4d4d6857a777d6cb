"""`finestream up` with a folder to follow: what `finestream status` says became of what was dropped there."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kit.raw_log import Raw, expected, lines

from streams.broker import Broker
from streams.ingest.booking import read_bookings
from streams.settings import Settings, load
from streams.supervisor import Plan, Supervisor, ingest_slots

DATA = Path(__file__).parents[1] / "data" / "warc"
ENTRY = [sys.executable, "-c", "from streams.cli import main; main()"]


def status(settings: Settings, *more: str) -> subprocess.CompletedProcess[str]:
    where = [
        "--data-dir",
        str(settings.data_dir),
        "--set",
        f"kafka.bootstrap_servers={settings.bootstrap_servers}",
    ]
    return subprocess.run(
        [*ENTRY, "status", *where, *more], capture_output=True, text=True, timeout=60, check=False
    )


def test_slots_of_what_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert ingest_slots(load()) == []
    slots = ingest_slots(load(ingest={"follow": ["crawl/", "s3://bucket/x/"], "shards": 2}))
    assert [(slot.role, slot.name, slot.restart) for slot in slots] == [
        ("ingest", "ingest-0", "always"),
        ("ingest", "ingest-1", "always"),
    ]
    assert slots[1].command[-7:] == [
        "--shard",
        "1/2",
        "--format",
        "json",
        "--",
        f"{tmp_path}/crawl",
        "s3://bucket/x/",
    ]


def test_dropping_files_into_a_folder_that_is_followed(
    clean_broker: Broker, settings: Callable[..., Settings], tmp_path: Path, until: Any
) -> None:
    folder = tmp_path / "crawl"
    folder.mkdir()
    it = settings(
        clean_broker,
        pipeline={"lanes": 4},
        ingest={"follow": [str(folder)], "shards": 2, "quiet_seconds": 0.3, "follow_seconds": 0.2},
    )
    with Supervisor(it, Plan(slots=ingest_slots(it)), attached=True) as supervisor:
        supervisor.start()
        supervisor.wait_healthy(60)
        for name in ("whirlwind.warc.gz", "whirlwind.warc.wet.gz"):
            shutil.copy(DATA / name, folder / name)
        pq.write_table(pa.table({"url": ["http://a.b/1"], "text": ["a text"]}), folder / "shard.parquet")
        whole = (DATA / "whirlwind.warc.gz").read_bytes()
        (folder / "broken.warc.gz").write_bytes(whole[: len(whole) // 2])
        (folder / "table.csv").write_text("a,b\n")

        def outcomes() -> dict[str, str]:
            return {Path(one.booking.url).name: one.booking.outcome for one in read_bookings(it).values()}

        until(
            lambda: (
                outcomes()
                == {
                    "whirlwind.warc.gz": "done",
                    "whirlwind.warc.wet.gz": "done",
                    "shard.parquet": "done",
                    "table.csv": "refused",
                }
            ),
            60,
        )

        def said() -> dict[str, Any]:
            done = status(it, "--format", "json")
            assert done.returncode == 0, done.stderr
            found: dict[str, Any] = json.loads(done.stdout)["sources"]
            return found

        def waiting() -> list[tuple[str, str]]:
            rows = [row for one in said()["following"] for row in one["waiting_for"]]
            return [(row["source"], row["why"]) for row in rows]

        # What ingesters say of themselves is of their last look, a moment ago.
        until(
            lambda: waiting() == [(str(folder / "broken.warc.gz"), "its last gzip member is not closed")],
            30,
            "only the broken file is waited for",
        )
        found = said()
        assert found["outcomes"] == {"done": 3, "refused": 1}
        assert found["complete"] is True
        assert {row["shard"] for row in found["last"]} <= {"0/2", "1/2"}
        assert [one["shard"] for one in found["following"]] == ["0/2", "1/2"]
        human = status(it).stdout
        assert "sources: 3 done, 1 refused\n" in human
        assert f"refused: {folder / 'table.csv'} is of no known format" in human
        assert f"waits for {folder / 'broken.warc.gz'}: its last gzip member is not closed" in human
        assert "ingest-0" in human

        for slot in ("ingest-0", "ingest-1"):
            supervisor.kill(slot)
        files = [lines(folder / f"{n}.jsonl", 50) for n in range(4)]
        until(lambda: all(outcomes().get(path.name) == "done" for path in files), 60)
        raw = Raw(it)
        for path in files:
            assert raw.of(path) == expected(path)
    after = status(it)
    assert after.returncode == 3
    assert "sources: 7 done, 1 refused\n" in after.stdout, "an outside broker is still there to be asked"
