"""Whole runs over a real broker: to the end of the input, again by obeying, and what must not stop them."""

import json
import signal
import subprocess
import sys
import threading
import urllib.request

import msgspec
import pytest
from kit.judged import fill, judged
from kit.oracle import account, check_exact
from kit.trainers import TrainerProcess, weights

from streams import clients, generations
from streams.errors import CheckpointError, LaneGap, LaneRecreated, NonFiniteLoss, SettingsError
from streams.positions import Position
from streams.records import Dropped, JudgedSegment, Pair
from streams.settings import to_environment
from trainer.__main__ import main
from trainer.run import train


def test_until_drained_then_obeyed_is_exact_and_equal_to_the_bit(stream, branch):
    settings, writer = stream(lanes=4, checkpoint_steps=5)
    fill(writer, 45, [0, 1, 3])  # lane 2 stays empty
    report = train(settings, until_drained=True)
    ledger = check_exact(settings)
    assert report.ended == "drained"
    assert report.steps == len(ledger.steps) == ledger.steps[-1].step
    assert report.pairs == len(ledger.trained) == ledger.steps[-1].pairs_total
    assert report.tokens == sum(s.targets for s in ledger.steps) == ledger.steps[-1].tokens
    assert [s.final for s in ledger.steps] == [False] * (len(ledger.steps) - 1) + [True]
    assert report.loss_last < report.loss_first
    assert report.heldout_loss < report.loss_first
    assert 0 < report.unigram_loss < report.loss_first
    assert report.checkpoint.endswith(ledger.checkpoints[-1].directory)
    folders = {p.name for p in (settings.data_dir / "checkpoints" / "main").iterdir()}
    assert folders == {c.directory for c in ledger.checkpoints[-2:]}

    again = branch(settings, run="again", checkpoint_steps=0)
    obeyed = train(again, obey="main")
    assert weights(again) == weights(settings)
    assert (obeyed.steps, obeyed.tokens, obeyed.pairs) == (report.steps, report.tokens, report.pairs)
    assert (obeyed.heldout_loss, obeyed.unigram_loss) == (report.heldout_loss, report.unigram_loss)
    assert obeyed.ended == "obeyed"
    check_exact(again)
    assert account(again).starts[0].obeys == "ledger.main"

    # Nothing new: a further process takes no step and writes no second end.
    assert train(settings, until_drained=True).steps == report.steps
    fill(writer, 20, [0, 2], first=1000)
    more = train(settings, until_drained=True)
    assert more.steps > report.steps
    check_exact(settings)


def test_stopped_damaged_and_lost_and_still_the_same(stream, branch, tmp_path, capfd):
    settings, writer = stream(lanes=2, checkpoint_steps=2)
    fill(writer, 40, [0, 1])
    first = train(branch(settings, max_steps=5), until_drained=True)
    assert (first.steps, first.ended) == (5, "max_steps")

    newest = max((settings.data_dir / "checkpoints" / "main").iterdir())
    (newest / "model.safetensors").write_bytes(b"damaged")
    train(branch(settings, max_steps=9), until_drained=True)
    assert "checkpoint_unusable" in said(capfd)
    assert account(settings).starts[1].step == 4, "it went on from the one before"

    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "lost"})
    report = train(elsewhere, until_drained=True)
    assert "no_checkpoint" in said(capfd)
    assert account(settings).starts[2].step == 0, "it obeyed its whole ledger"

    again = branch(settings, run="again")
    assert train(again, obey="main").steps == report.steps
    assert weights(again) == weights(elsewhere)
    check_exact(settings)


def test_an_idle_lane_and_one_that_is_far_behind_stop_nothing(stream, until):
    settings, writer = stream(lanes=4)
    # Lane 1: the document is in raw, and its judged record does not come. Lane 2: nothing at all.
    writer.raw(1)
    fill(writer, 40, [0, 3])
    stop = threading.Event()
    reports = []
    thread = threading.Thread(target=lambda: reports.append(train(settings, until_drained=True, stop=stop)))
    thread.start()
    try:

        def steps():
            return len(account(settings).steps) if "ledger.main" in topics(settings) else 0

        until(lambda: steps() >= 10, 60, "the trainer takes steps beside idle lanes")
        assert thread.is_alive(), "and waits for the lane that is not drained"
        writer.put(1, Position(0, 0), judged(5000))
        writer.flush()
        thread.join(60)
    finally:
        stop.set()
        thread.join(60)
    assert reports
    assert reports[0].ended == "drained"
    check_exact(settings)


def said(capfd):
    """What was logged, wherever the tests before have sent logs to."""
    out, err = capfd.readouterr()
    return out + err


def topics(settings):
    admin = clients.admin(settings)
    try:
        return admin.list_topics()
    finally:
        admin.close()


def test_a_gap_stops_the_run_before_it_is_trained_over(stream):
    settings, writer = stream(lanes=2)
    fill(writer, 30, [0])
    at = writer.next[0].offset
    writer.put(0, Position(at + 1, 0), judged(1))
    fill(writer, 20, [1], first=100)
    with pytest.raises(LaneGap, match=rf"\({at + 1}, 0\) where \({at}, 0\) must follow"):
        train(settings, until_drained=True)
    trained = account(settings).trained
    assert all(position.offset < at for lane, position, _ in trained if lane == 0)


def test_repeats_in_the_log_are_trained_on_once(stream):
    settings, writer = stream(lanes=2)
    for n in range(12):
        at = writer.document(0, [judged(n, index=0, count=2), judged(n, index=1, count=2)])
        if n % 3 == 0:  # a zombie writes again what the lane already has
            writer.put(0, Position(at, 0), judged(n, index=0, count=2), 2)
            writer.put(0, Position(at, 1), judged(n, index=1, count=2), 2)
    writer.flush()
    train(settings, until_drained=True)
    check_exact(settings)


def test_hostile_records_are_trained_on_as_text_or_passed_over(stream):
    settings, writer = stream(lanes=1, heldout_share=0.0)
    whole = judged(1)
    segment = whole.instantiated.matched.segment
    hostile = '<fi>x</fi> <excerpt>a<...>b</excerpt> <|end_of_text|>\0 {{answer}} \n\nAnswer: {"a": 1} \u202e'
    pair = Pair(template_id="\0'; --", instruction=hostile, answer=hostile, excerpt_share=1.0)
    inner = type(whole.instantiated)(
        matched=type(whole.instantiated.matched)(
            segment=msgspec.structs.replace(segment, text=hostile * 99, tokens=10**6), bank="", encoder=""
        ),
        engine="",
        model="",
        pairs=[pair],
    )
    record = JudgedSegment(
        instantiated=inner, judge="", verdicts=[type(whole.verdicts[0])(template_id="\0'; --", score=5)]
    )
    writer.document(0, [record])
    writer.document(0, [Dropped(stage="match", reason="no_match")])
    at = writer.next[0].offset
    writer.raw(0)
    writer.put(0, Position(at, 0), b"\xc1 not msgpack")
    writer.next[0] = Position(at + 1, 0)
    writer.document(0, [judged(2, pairs=6)])
    writer.flush()
    report = train(settings, until_drained=True)
    assert report.pairs > 1
    assert (0, Position(0, 0), "\0'; --") in account(settings).trained


def test_a_run_keeps_its_settings_and_its_topics(stream, branch, clean_broker):
    settings, writer = stream(lanes=2)
    fill(writer, 30, [0, 1])
    train(branch(settings, max_steps=2), until_drained=True)
    with pytest.raises(SettingsError, match="other trainer settings"):
        train(branch(settings, learning_rate=0.5), until_drained=True)
    with pytest.raises(SettingsError, match="other settings of the data"):
        train(branch(settings, run="again", seed=1), obey="main")
    writer.close()
    admin = clients.admin(settings)
    admin.delete_topics([t for t in admin.list_topics() if not t.startswith(("__", "ledger."))])
    admin.close()
    generations.create(settings)
    with pytest.raises(LaneRecreated, match="Begin a new run"):
        train(settings, until_drained=True)


def test_three_losses_in_a_row_that_are_no_number_stop_the_run_and_name_the_documents(stream, branch):
    settings, writer = stream(lanes=1, learning_rate=1e30, warmup_steps=1, weight_decay=0.0)
    fill(writer, 40, [0])
    with pytest.raises(NonFiniteLoss, match=r"3 steps in a row.*step \d+: 0:\d+"):
        train(settings, until_drained=True)


def test_metrics_are_served_and_add_up(stream, until):
    settings, writer = stream(lanes=2)
    fill(writer, 30, [0, 1])
    writer.raw(0)  # keeps it from being drained
    writer.flush()
    stop = threading.Event()
    port = free_port()
    settings = settings.model_copy(update={"metrics": settings.metrics.model_copy(update={"port": port})})
    thread = threading.Thread(target=lambda: train(settings, until_drained=True, stop=stop))
    thread.start()

    def scraped():
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        except OSError:
            return {}
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    try:
        until(
            lambda: scraped().get('finestream_trainer_wait_seconds_total{kind="supply",run="main"}', 0) > 0.5,
            60,
        )
        seen = scraped()
    finally:
        stop.set()
        thread.join(60)
    ledger = account(settings)
    assert seen['finestream_trainer_steps_total{run="main"}'] == len(ledger.steps)
    assert seen['finestream_trainer_tokens_total{run="main",source="live"}'] == ledger.steps[-1].tokens
    assert seen['finestream_trainer_pairs_total{run="main"}'] == ledger.steps[-1].pairs_total
    assert seen['finestream_trainer_pairs_skipped_total{reason="score",run="main"}'] > 0
    assert seen['finestream_trainer_loss{run="main"}'] > 0


def free_port():
    import socket

    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def test_a_full_disk_does_not_stop_training(stream, branch, tmp_path, capfd):
    settings, writer = stream(lanes=2, checkpoint_steps=3)
    fill(writer, 40, [0, 1])
    small = tmp_path / "data" / "checkpoints"
    small.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system; test_checkpoint has the same without it")
    try:
        before = train(branch(settings, max_steps=3), until_drained=True).checkpoint
        ballast = small / "ballast"
        ballast.write_bytes(bytes(60_000_000))  # no room for a second checkpoint beside the first
        with pytest.raises(CheckpointError, match="No space left"):  # an end without its checkpoint
            train(branch(settings, max_steps=8), until_drained=True)
        words = said(capfd)
        assert "checkpoint_failed" in words
        assert "step=6" in words
        assert len(account(settings).steps) == 8, "training went on meanwhile"
        assert before.endswith(account(settings).checkpoints[-1].directory), (
            "the one before is still the newest"
        )
        ballast.unlink()
        train(settings, until_drained=True)
        assert account(settings).starts[2].step == 3
        check_exact(settings)
        again = branch(settings, run="again").model_copy(update={"data_dir": tmp_path / "other"})
        train(again, obey="main")
        assert weights(again) == weights(settings)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.fixture
def command():
    """The command in this process, without its signal handlers staying."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield main
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_command(stream, command, monkeypatch, capsys):
    settings, writer = stream(lanes=2)
    fill(writer, 20, [0, 1])
    for name, value in to_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert command(["--until-drained", "--format", "json", "--max-steps", "4"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 4
    wanted = "steps tokens pairs loss_first loss_last heldout_loss unigram_loss checkpoint ended"
    assert set(wanted.split()) == set(report)
    assert command(["--obey", "nobody"]) == 1
    out, words = capsys.readouterr()
    assert "there is no ledger ledger.nobody" in words
    assert not out
    assert command(["--until-drained", "--run", "Not A Name"]) == 2
    assert "trainer.run" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys, trainer.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    check = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr
    assert "examples:" in check.stdout


def test_a_terminated_trainer_leaves_a_checkpoint_of_where_it_stood(stream, until, tmp_path):
    settings, writer = stream(lanes=2)
    fill(writer, 60, [0, 1])
    writer.raw(0)
    writer.flush()
    child = TrainerProcess(settings, tmp_path / "report.json", until_drained=True)
    until(lambda: "ledger.main" in topics(settings) and len(account(settings).steps) > 3, 60)
    child.kill(15)
    report = child.report()
    assert report["ended"] == "stopped"
    ledger = account(settings)
    assert ledger.checkpoints[-1].step == report["steps"] > 0
