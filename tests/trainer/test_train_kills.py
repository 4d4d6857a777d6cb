"""Killed at any instant, also inside a save, or frozen and overtaken: the weights are the same to the bit."""

import random
import signal

from kit.judged import fill
from kit.oracle import account, check_exact
from kit.trainers import TrainerProcess, ticks, weights

from trainer.run import train

LIVES = 5


def test_killed_again_and_again(stream, branch, tmp_path):
    settings, writer = stream(lanes=3, checkpoint_steps=1)
    fill(writer, 50, [0, 2])
    folder = settings.data_dir / "checkpoints" / "main"
    rnd = random.Random(1)
    in_save = 0
    for life in range(LIVES):
        child = TrainerProcess(settings, tmp_path / "report.json", until_drained=True)
        inside, count = life % 2 == 0, rnd.randrange(1, 4)
        stale = {p.name for p in folder.glob("*.tmp")}
        saves: set[str] = set()
        for _ in ticks(60):
            if child.process.exitcode is not None:
                break
            names = {p.name for p in folder.glob("*.tmp")} - stale
            saves |= names
            if len(saves) >= count and (names or not inside):
                break
        child.kill(signal.SIGKILL)
        child.process.join()
        in_save += any(p.name not in stale for p in folder.glob("*.tmp"))
        fill(writer, 12, [0, 2], first=1000 * (life + 1), seed=life)
    calm = branch(settings, checkpoint_steps=50)
    report = TrainerProcess(calm, tmp_path / "report.json", until_drained=True).report()
    ledger = check_exact(settings)
    assert report["steps"] == len(ledger.steps)
    assert len(ledger.starts) == LIVES + 1
    assert in_save >= 2, "no kill fell into a save: the test has tested little"
    assert not list(folder.glob("*.tmp")), "what the kills left is cleared away"
    again = branch(settings, run="again", checkpoint_steps=0)
    train(again, obey="main")
    assert weights(again) == weights(settings)


def test_a_frozen_trainer_that_wakes_up_is_fenced_and_changes_nothing(stream, branch, until, tmp_path):
    settings, writer = stream(lanes=2, checkpoint_steps=1)
    fill(writer, 40, [0, 1])
    folder = settings.data_dir / "checkpoints" / "main"
    zombie = TrainerProcess(settings, tmp_path / "zombie.json", until_drained=True)
    until(
        lambda: folder.exists() and len(list(folder.glob("step-*"))) >= 1, 60, "it has begun to save", 0.003
    )
    zombie.kill(signal.SIGSTOP)
    calm = branch(settings, checkpoint_steps=50)
    heir = TrainerProcess(calm, tmp_path / "heir.json", until_drained=True).report()
    fill(writer, 10, [0, 1], first=1000)
    zombie.kill(signal.SIGCONT)
    assert zombie.join(60) == 3, zombie.words()
    assert "Fenced" in zombie.words()
    assert not (tmp_path / "zombie.json").exists()
    ledger = account(settings)
    assert max(s.step for s in ledger.steps) == heir["steps"]
    assert {c.attempt for c in ledger.checkpoints[-1:]} == {2}
    report = TrainerProcess(calm, tmp_path / "last.json", until_drained=True).report()
    assert report["steps"] > heir["steps"]
    check_exact(settings)
    again = branch(settings, run="again")
    train(again, obey="main")
    assert weights(again) == weights(settings)
