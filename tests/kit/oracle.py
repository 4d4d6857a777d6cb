"""What a run must have trained on, worked out from `judged` by its own few lines, and what its ledger says.

Nothing here comes from trainer/ but the ledger's reader: an oracle that shared the trainer's code would
share its faults.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from kit.flow import check_gapless, filtered, read_lanes

from streams.positions import Position
from streams.records import JudgedSegment, decode
from streams.settings import Settings
from streams.tokens import load_tokenizer
from trainer.entries import Checkpoint, Start, Step
from trainer.ledger import LedgerReader

Name = tuple[int, Position, str]
"""A pair: lane, position, template."""


def expected_pairs(settings: Settings) -> dict[Name, int]:
    """Every pair that must be trained on, with its tokens."""
    config = settings.trainer
    tokenizer = load_tokenizer(config.tokenizer)
    out: dict[Name, int] = {}
    for lane, records in read_lanes(settings, "judged").items():
        left = 0
        seen = filtered(records)
        check_gapless(seen)
        for record in seen:
            if record.header.kind.marker:
                continue
            judged = decode(record.value, JudgedSegment)
            segment = judged.instantiated.matched.segment
            salted = hashlib.blake2b(segment.content_hash, digest_size=8, person=b"finestream held").digest()
            if int.from_bytes(salted, "big") / 2**64 < config.heldout_share:
                continue
            left += segment.tokens
            good = {v.template_id for v in judged.verdicts if v.score >= config.min_score}
            pairs = [
                p
                for p in judged.instantiated.pairs
                if p.template_id in good and p.excerpt_share >= config.min_excerpt_share and not p.rejected
            ]
            pairs.sort(key=lambda p: _draw(config.seed, segment.content_hash, p.template_id))
            for pair in pairs:
                text = "Instruction: " + pair.instruction + "\n\nAnswer: " + pair.answer
                tokens = 2 + tokenizer.count(text)
                if tokens <= left:
                    left -= tokens
                    out[lane, record.position, pair.template_id] = tokens
    return out


def _draw(seed: int, content: bytes, template: str) -> bytes:
    return hashlib.blake2b(content + template.encode(), digest_size=8, key=str(seed).encode()).digest()


@dataclass
class LedgerAccount:
    """A ledger, counted."""

    starts: list[Start] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)  # of each entry, in order
    trained: dict[Name, list[tuple[int, int]]] = field(default_factory=dict)
    """Per pair its token ranges, in the order of training."""


def account(settings: Settings, run: str = "") -> LedgerAccount:
    """Read a run's ledger and check that it is whole in itself."""
    reader = LedgerReader(settings, run or settings.trainer.run)
    out = LedgerAccount()
    for logged in reader.read():
        entry = logged.entry
        out.attempts.append(entry.attempt)
        if isinstance(entry, Start):
            out.starts.append(entry)
        elif isinstance(entry, Checkpoint):
            out.checkpoints.append(entry)
        else:
            out.steps.append(entry)
            for span in entry.pairs:
                ranges = out.trained.setdefault((span.lane, span.position, span.template_id), [])
                ranges.append((span.cut, span.cut + span.end - span.begin))
    reader.close()
    assert [s.step for s in out.steps] == list(range(1, len(out.steps) + 1)), "each step once, in order"
    assert out.attempts == sorted(out.attempts), "no entry of an older process behind a newer one's"
    assert [s.attempt for s in out.starts] == list(range(1, len(out.starts) + 1))
    return out


def check_exact(settings: Settings, run: str = "") -> LedgerAccount:
    """Assert that a run's ledger holds every expected pair once, whole, in lane order; return the account."""
    expected = expected_pairs(settings)
    ledger = account(settings, run)
    missing = expected.keys() - ledger.trained.keys()
    foreign = ledger.trained.keys() - expected.keys()
    assert not missing, f"{len(missing)} pairs are missing, first {sorted(missing)[:3]}"
    assert not foreign, f"{len(foreign)} pairs should not be there, first {sorted(foreign)[:3]}"
    for i, (name, ranges) in enumerate(ledger.trained.items()):
        at = 1 if i == 0 else 0  # the run's first token follows nothing, so it is no target
        for begin, end in ranges:
            assert begin == at, f"{name} is trained on in {ranges}"
            at = end
        assert at == expected[name], f"{name} has {expected[name]} tokens, trained on in {ranges}"
    for lane in {lane for lane, _, _ in expected}:
        positions = [position for at, position, _ in ledger.trained if at == lane]
        assert positions == sorted(positions), f"lane {lane} is out of order"
    return ledger
