"""From judged records to trainable texts: decode, select, hold out, render, tokenise, spend the budget.

Many records at once, since the tokenizer is twice as fast on large batches; the budget then runs lane by
lane, in order. Given the lane's cursor the result depends on the records and the settings alone, never on
how they were batched or when they came: that is what lets a restart, or another run, read them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from streams.errors import RecordError
from streams.records import JudgedSegment, decode
from streams.settings import TrainerSettings
from streams.tokens import TokenCounter
from trainer.blocks import Reading
from trainer.budget import draw_order, spend
from trainer.pack import Text
from trainer.render import render
from trainer.select import held_out, select
from trainer.source import Arrived
from trainer.state import Cursor, HeldOut
from trainer.tokenise import Tokens, encode_texts

_log = structlog.get_logger(__name__)


class _Prepared(NamedTuple):
    """A record between decoding and tokenising: a range of the batch's texts, in drawn order."""

    template_ids: list[str]
    begin: int
    credit: int  # the segment's tokens
    heldout: bool


class Readings:
    """Turns arrived records of any lanes into readings, and collects the held-out pairs on the way."""

    def __init__(
        self, config: TrainerSettings, tokenizer: TokenCounter, skipped: Callable[[str, int], None]
    ) -> None:
        """`skipped` is called with a reason of `select.REASONS` and how many pairs fell for it."""
        self._config = config
        self._tokenizer = tokenizer
        self._skipped = skipped

    def read(
        self, arrived: Sequence[tuple[int, Sequence[Arrived]]], cursors: dict[int, Cursor]
    ) -> tuple[dict[int, list[Reading]], list[HeldOut]]:
        """Return each lane's readings, in order, and the held-out pairs met.

        `arrived` holds (lane, records in lane order); `cursors` the cursor before each lane's first one.
        """
        texts: list[str] = []
        prepared = [[self._prepare(a, texts) for a in records] for _, records in arrived]
        tokens = encode_texts(self._tokenizer, texts)
        readings: dict[int, list[Reading]] = {}
        heldout: list[HeldOut] = []
        for (lane, records), plans in zip(arrived, prepared, strict=True):
            cursor = cursors[lane]
            out = readings.setdefault(lane, [])
            for record, plan in zip(records, plans, strict=True):
                pairs: tuple[Text, ...] = ()
                carry = cursor.carry
                if plan is not None:
                    mine = tokens[plan.begin : plan.begin + len(plan.template_ids)]
                    if plan.heldout:
                        heldout += self._keep(lane, record, plan, mine)
                    else:
                        pairs, carry = self._afford(lane, record, plan, mine, carry)
                cursor = Cursor(record.offset + 1, record.position, record.segments, carry, cursor.first)
                out.append(Reading(pairs, cursor, record.appended_ms))
        return readings, heldout

    def _prepare(self, arrived: Arrived, texts: list[str]) -> _Prepared | None:
        if arrived.value is None:
            return None
        try:
            record = decode(arrived.value, JudgedSegment)
        except RecordError as error:
            # Its position is known and nothing is missing; it is counted, and named so that it can be found.
            self._skipped("unreadable", 1)
            _log.error(
                "unreadable_record", position=tuple(arrived.position), offset=arrived.offset, why=str(error)
            )
            return None
        segment = record.instantiated.matched.segment
        config = self._config
        selection = select(
            record,
            config.min_score,
            config.min_excerpt_share,
            config.allow_contaminated,
            config.exclude_flags,
        )
        for reason, n in selection.skipped.items():
            self._skipped(reason, n)
        heldout = held_out(segment.content_hash, self._config.heldout_share)
        ids = [pair.template_id for pair in selection.pairs]
        order = draw_order(self._config.seed, segment.content_hash, ids)
        begin = len(texts)
        texts += [render(selection.pairs[i].instruction, selection.pairs[i].answer) for i in order]
        credit = 0
        if not heldout:
            ours = segment.tokenizer == self._tokenizer.name
            credit = segment.tokens if ours else self._tokenizer.count(segment.text)
        return _Prepared([ids[i] for i in order], begin, credit, heldout)

    def _afford(
        self, lane: int, record: Arrived, plan: _Prepared, tokens: Sequence[Tokens], carry: int
    ) -> tuple[tuple[Text, ...], int]:
        kept, carry = spend(carry, plan.credit, [len(t) for t in tokens])
        if len(kept) < len(tokens):
            self._skipped("budget", len(tokens) - len(kept))
        return tuple(Text(lane, record.position, plan.template_ids[i], tokens[i]) for i in kept), carry

    def _keep(self, lane: int, record: Arrived, plan: _Prepared, tokens: Sequence[Tokens]) -> list[HeldOut]:
        self._skipped("heldout", len(tokens))
        return [
            HeldOut(
                _heldout_draw(lane, record, template),
                lane,
                record.position,
                template,
                text.astype("<i4").tobytes(),
            )
            for template, text in zip(plan.template_ids, tokens, strict=True)
        ]


def keep_smallest(held: Sequence[HeldOut], more: Sequence[HeldOut], most: int) -> list[HeldOut]:
    """Return the `most` held-out pairs with the smallest draws of both, each once.

    So the set depends on which records were read and not on their order, and reading again adds nothing.
    """
    known = {(h.draw, h.lane, h.position, h.template_id): h for h in (*held, *more)}
    return [known[k] for k in sorted(known)[:most]]


def _heldout_draw(lane: int, record: Arrived, template: str) -> bytes:
    name = f"{lane} {record.position.offset} {record.position.segment} {template}"
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
